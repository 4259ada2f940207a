-- The history of images: the program that asked for an operation, the number of files that a layer changes, and indexes to find the
-- images that were made from one.
ALTER TABLE operations ADD COLUMN client TEXT;
ALTER TABLE layers ADD COLUMN files INTEGER;
CREATE INDEX operations_image ON operations (image) WHERE image IS NOT NULL;
CREATE INDEX operations_result ON operations (result_image) WHERE result_image IS NOT NULL;
