-- The paths in the sandbox that the run of a placement removed before, as a JSON list.
ALTER TABLE placements ADD COLUMN removed TEXT NOT NULL DEFAULT '[]';
