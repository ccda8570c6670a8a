CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers SELECT g, 'customer' || g || '@example.com' FROM generate_series(1, 2000) g;
