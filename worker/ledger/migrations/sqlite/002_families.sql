-- Which work order lies under which, and what is owed to one because of what happened to another.
ALTER TABLE work_orders ADD COLUMN parent TEXT; -- external id, where the events named it so
ALTER TABLE work_orders ADD COLUMN parent_id TEXT; -- the task that Ditio is known to show it under
ALTER TABLE work_orders ADD COLUMN marked INTEGER NOT NULL DEFAULT 0; -- Ditio shows it as a parent because of a child
ALTER TABLE work_orders ADD COLUMN owed INTEGER NOT NULL DEFAULT 0; -- how many causes it has not been compared with since
ALTER TABLE work_orders ADD COLUMN owed_at REAL NOT NULL DEFAULT 0; -- when that is due, seconds since 1970

CREATE INDEX work_orders_parent ON work_orders (parent, project_id) WHERE parent IS NOT NULL;

CREATE INDEX work_orders_parent_id ON work_orders (parent_id) WHERE parent_id IS NOT NULL;

CREATE INDEX work_orders_owed ON work_orders (owed_at) WHERE owed > 0;
