-- One of everything that a MySQL 5.7 database can have.
CREATE TABLE Parents (
  id int NOT NULL AUTO_INCREMENT, code varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (id), UNIQUE KEY (code), FULLTEXT KEY words (code), KEY both_ (code, id)
) COMMENT = 'it''s; a "comment" \\ DEFINER=x' AUTO_INCREMENT = 1000;
INSERT INTO Parents VALUES (1, 'a'), (2, 'A'), (3, ''), (4, 'á');
CREATE TABLE kids (
  id int PRIMARY KEY, parent int DEFAULT 2, doubled int GENERATED ALWAYS AS (parent * 2) STORED,
  named varchar(20) AS (concat('v', id)) VIRTUAL, j json, n int AS (j->'$.n') VIRTUAL, KEY (n),
  CONSTRAINT kid_parent FOREIGN KEY (parent) REFERENCES Parents (id) ON DELETE RESTRICT
);
INSERT INTO kids (id, parent, j) VALUES (1, 1, '{"n": 7}'), (2, 2, NULL), (3, NULL, 'null');
CREATE TABLE chicken (id int PRIMARY KEY, egg int);
CREATE TABLE egg (id int PRIMARY KEY, chicken int NOT NULL, CONSTRAINT laid_by FOREIGN KEY (chicken) REFERENCES chicken (id));
INSERT INTO chicken VALUES (1, NULL);
INSERT INTO egg VALUES (1, 1);
UPDATE chicken SET egg = 1;
ALTER TABLE chicken ADD CONSTRAINT hatched_from FOREIGN KEY (egg) REFERENCES egg (id);
SET sql_mode = '';
CREATE TABLE kinds (
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, t longtext CHARACTER SET utf8mb4, b longblob, v varbinary(20), bits bit(9), j json,
  g geometry, d datetime(6), z date NOT NULL DEFAULT '0000-00-00', y year, n decimal(30, 10), f double,
  e enum('x', 'it''s'), s set('a', 'b'), ts timestamp NOT NULL DEFAULT current_timestamp ON UPDATE current_timestamp,
  l varchar(10) CHARACTER SET latin1, p point NOT NULL, SPATIAL KEY (p)
);
INSERT INTO kinds (t, b, v, bits, j, g, d, z, y, n, f, e, s, l, p) VALUES
 ('a /*!50017 DEFINER=`root`@`localhost`*/ ; \n-- Dump completed\n--\n-- Dumping data for table `kinds`\n', 0x0027220a5c00ff,
  0x0d0a, b'101010101', '{"a": [1, "\\u00e9"]}', ST_GeomFromText('POINT(1 2)', 4326), '2026-03-29 02:30:00.123456',
  '0000-00-00', 1999, 12345678901234567890.0123456789, 1.7976931348623157e308, 'it''s', 'a,b', 0xe9, POINT(3, 4)),
 ('emoji 😀 and ''quotes'' \\ " ` \0 \Z; INSERT INTO kinds;', '', '', 0, 'null', NULL, NULL, '2026-02-00', 0, -0.5, 5e-324,
  NULL, '', '', POINT(0, 0));
CREATE TABLE by_year (id int, d date NOT NULL) PARTITION BY RANGE (year(d))
  (PARTITION p0 VALUES LESS THAN (2020), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO by_year VALUES (1, '2019-01-01'), (2, '2026-01-01');
CREATE TABLE isam (id int AUTO_INCREMENT, t varchar(20), KEY (id)) ENGINE = MyISAM;
INSERT INTO isam (t) VALUES ('x'), ('y');
CREATE TABLE empty_one (id int);
CREATE TABLE `weird ``name; --` (`a b` int, `c``d` int, `'` int);
INSERT INTO `weird ``name; --` VALUES (1, 2, 3);
CREATE TABLE audit (what varchar(100));
CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC RETURN x * 2;
CREATE VIEW z_view AS SELECT id, twice(parent) AS p FROM kids;
CREATE DEFINER=app@'10.%' SQL SECURITY INVOKER VIEW `View on a view` AS SELECT p, 'DEFINER=`x`' AS d FROM z_view WHERE p > 0;
CREATE VIEW checked AS SELECT id, parent FROM kids WHERE parent > 0 WITH CASCADED CHECK OPTION;
CREATE VIEW counted AS SELECT c.id, (SELECT count(*) FROM kids k WHERE k.id <= c.id) AS r FROM kids c;
DELIMITER $$
CREATE DEFINER=app@'10.%' PROCEDURE `a proc`(IN a int, OUT b text CHARACTER SET utf8mb4) COMMENT 'don''t; DELIMITER ;;'
BEGIN -- it's; a comment
  /* another; ' */ SELECT 'x;y', a; # and ` one
  SET b = "q"";";
END$$
SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'$$
CREATE PROCEDURE "plain \"() SELECT 'ends with a backslash \'$$
SET sql_mode = ''$$
CREATE TRIGGER first_one BEFORE INSERT ON kids FOR EACH ROW BEGIN SET NEW.parent = coalesce(NEW.parent, 1); END$$
CREATE DEFINER=app@'10.%' TRIGGER a_second BEFORE INSERT ON kids FOR EACH ROW FOLLOWS first_one SET @x = ';'$$
CREATE TRIGGER log_it AFTER INSERT ON kids FOR EACH ROW INSERT INTO audit VALUES (concat('kid ', NEW.id))$$
CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY STARTS '2026-01-01 00:00:00' COMMENT 'ENABLE; DO' DO BEGIN DELETE FROM kids WHERE id < 0; END$$
CREATE EVENT asleep ON SCHEDULE EVERY 1 HOUR STARTS '2026-01-01 00:00:00' DISABLE DO SELECT 1$$
DELIMITER ;
INSERT INTO audit VALUES ('the first');
