-- For release 1.1. Only adds: release 1.0 keeps working beside it. Valid for SQLite and PostgreSQL.
ALTER TABLE orders ADD COLUMN gift_note TEXT;

CREATE TABLE reviews (
    id BIGINT NOT NULL PRIMARY KEY,
    product_id BIGINT NOT NULL REFERENCES products (id),
    author TEXT NOT NULL,
    stars BIGINT NOT NULL CHECK (stars BETWEEN 1 AND 5),
    text TEXT NOT NULL
);

CREATE INDEX reviews_by_product ON reviews (product_id);

INSERT INTO reviews (id, product_id, author, stars, text) VALUES
    (1, 1, 'Ada', 5, 'Quick and quiet.'),
    (2, 1, 'Edsger', 4, 'The lid could close more firmly.'),
    (3, 2, 'Barbara', 5, 'Pours without a drop lost.'),
    (4, 4, 'Alan', 3, 'Pleasant, a little grassy.');
