-- Products, orders, and what a new shop starts with. Valid for SQLite and PostgreSQL.
CREATE TABLE products (
    id BIGINT NOT NULL PRIMARY KEY,
    sku TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    price_cents BIGINT NOT NULL CHECK (price_cents >= 0)
);

CREATE TABLE orders (
    id TEXT NOT NULL PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    product_id BIGINT NOT NULL REFERENCES products (id),
    quantity BIGINT NOT NULL CHECK (quantity BETWEEN 1 AND 100),
    unit_price_cents BIGINT NOT NULL CHECK (unit_price_cents >= 0),
    total_cents BIGINT NOT NULL CHECK (total_cents >= 0),
    customer TEXT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE INDEX orders_by_time ON orders (created_at);

INSERT INTO products (id, sku, name, description, price_cents) VALUES
    (1, 'KETTLE-1', 'Kettle', 'Boils a litre in three minutes.', 3990),
    (2, 'TEAPOT-1', 'Teapot', 'Stoneware, holds four cups.', 2850),
    (3, 'CUP-4', 'Four cups', 'Thin porcelain, no two alike.', 3200),
    (4, 'TEA-G', 'Green tea', 'Second flush, 100 grams.', 1190),
    (5, 'TEA-B', 'Black tea', 'Smoked over pine, 100 grams.', 1090),
    (6, 'SPOON-2', 'Two spoons', 'Brass, for measuring leaves.', 850),
    (7, 'TRAY-1', 'Tray', 'Oiled ash, with two handles.', 4400),
    (8, 'BISCUIT-1', 'Biscuits', 'Butter and lemon, 250 grams.', 640);

INSERT INTO orders (id, idempotency_key, product_id, quantity, unit_price_cents, total_cents, customer, created_at) VALUES
    ('00000000-0000-4000-8000-000000000001', 'seed-0001', 1, 2, 3990, 7980, 'Grace', '2026-01-01T00:00:00.000000Z');
