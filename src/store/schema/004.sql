-- ActivationWs asks for it beside the installation ID.
ALTER TABLE confirmation ADD COLUMN extended_product_id TEXT;

-- What Microsoft has counted stays counted when its pair is forgotten.
CREATE TABLE forgotten (
    partial_key TEXT PRIMARY KEY,
    imports     INTEGER NOT NULL
) STRICT;
