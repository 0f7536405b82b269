//! Values that must never reach a log, an error text or a screen.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value that cannot be printed: `Debug` shows a mask, there is no `Display`, and its memory is wiped when dropped.
///
/// Whoever needs the value writes [`Secret::expose`], which is easy to search for:
/// ```
/// # use klonwerk::secret::Secret;
/// let secret = Secret::new(String::from("hush"));
/// let text = format!("{}", secret.expose());
/// let json = serde_json::to_string(secret.expose());
/// ```
/// The same without it does not compile, neither as a text nor as JSON:
/// ```compile_fail,E0277
/// # use klonwerk::secret::Secret;
/// let secret = Secret::new(String::from("hush"));
/// let text = format!("{}", secret);
/// ```
/// ```compile_fail,E0277
/// # use klonwerk::secret::Secret;
/// let secret = Secret::new(String::from("hush"));
/// let json = serde_json::to_string(&secret);
/// ```
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value into custody.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one call that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Some(Secret::new("hush".to_owned()))), "Some(***)");
    }
}
