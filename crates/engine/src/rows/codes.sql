-- The codes of the errors of operations.
ALTER TABLE operations ADD COLUMN code TEXT;
