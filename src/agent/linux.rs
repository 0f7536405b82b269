//! What the agent needs to know of Linux: which disk to write.
