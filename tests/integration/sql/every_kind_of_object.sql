-- One or more of every kind of object that pg_dump carries, with awkward names. Needs the roles of roles.sql.
SET client_min_messages = warning;

CREATE EXTENSION pg_trgm;
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION "uuid-ossp";
CREATE EXTENSION btree_gist;
CREATE EXTENSION postgres_fdw;
COMMENT ON EXTENSION hstore IS 'a comment of our own';

CREATE SCHEMA "Mixed Case";
CREATE SCHEMA "schéma ""quoted""" AUTHORIZATION "Röle ""quoted"" name";
CREATE SCHEMA app AUTHORIZATION app_owner;
GRANT USAGE ON SCHEMA app TO app_reader;
COMMENT ON SCHEMA app IS 'it''s a comment with a quote, a \ and a $$';

-- types
CREATE TYPE app.mood AS ENUM ('sad', 'it''s ok', 'happy; DROP', 'très');
CREATE TYPE app.pair AS (a int, "B b" text COLLATE "C");
CREATE DOMAIN app.email AS citext CHECK (VALUE ~ '@') DEFAULT 'nobody@example.com';
CREATE DOMAIN app.positive AS int NOT NULL CONSTRAINT above_zero CHECK (VALUE > 0);
CREATE TYPE app.int_span AS RANGE (subtype = int4, multirange_type_name = app.int_spans);
CREATE TYPE app.shell_only;
COMMENT ON TYPE app.mood IS 'how one feels';
CREATE COLLATION app.german (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION "Mixed Case"."C copy" FROM "C";

-- functions, aggregates, operators, casts, conversions
CREATE FUNCTION app.add(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT a + b; -- ; ' " $$;
CREATE FUNCTION app."Weird ""name"""(VARIADIC arr text[]) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = app, pg_temp AS $_$ BEGIN RETURN array_to_string(arr, $x$;$x$); END $_$;
CREATE FUNCTION app.standard_body(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a * 2; END;
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := true; RETURN NEW; END $$;
CREATE FUNCTION app.nothing() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE PROCEDURE app.do_it(IN a int, INOUT b text) LANGUAGE plpgsql AS $$ BEGIN b := a::text; END $$;
REVOKE ALL ON FUNCTION app.add(int, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.add(int, int) TO app_reader WITH GRANT OPTION;
ALTER FUNCTION app.standard_body(int) OWNER TO app_owner;
CREATE AGGREGATE app.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION app.same_pair(app.pair, app.pair) RETURNS boolean LANGUAGE sql AS 'SELECT ($1).a = ($2).a';
CREATE OPERATOR app.=== (LEFTARG = app.pair, RIGHTARG = app.pair, FUNCTION = app.same_pair, COMMUTATOR = OPERATOR(app.===));
CREATE FUNCTION app.pair_of(int) RETURNS app.pair LANGUAGE sql AS $$ SELECT ROW($1, 'x')::app.pair $$;
CREATE CAST (int AS app.pair) WITH FUNCTION app.pair_of(int) AS ASSIGNMENT;
CREATE OPERATOR FAMILY app.ints USING btree;
CREATE OPERATOR CLASS app.int_ops FOR TYPE int USING btree FAMILY app.ints AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
CREATE CONVERSION app.utf8_to_latin1 FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;

-- text search
CREATE TEXT SEARCH DICTIONARY app.english_short (TEMPLATE = snowball, Language = english, StopWords = english);
CREATE TEXT SEARCH CONFIGURATION app.english (COPY = pg_catalog.english);
ALTER TEXT SEARCH CONFIGURATION app.english ALTER MAPPING FOR asciiword WITH app.english_short;

-- tables
CREATE TABLE app.people (
  id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 7) PRIMARY KEY,
  email app.email UNIQUE,
  mood app.mood DEFAULT 'happy; DROP',
  span app.int_span,
  spans app.int_spans,
  pair app.pair,
  name text COLLATE app.german,
  tags hstore,
  doc jsonb,
  raw bytea,
  at timestamptz DEFAULT '2020-01-01 00:00:00+00',
  touched boolean DEFAULT false,
  "select" numeric(40, 20),
  upper_name text GENERATED ALWAYS AS (upper(name)) STORED,
  words tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(name, ''))) STORED
);
ALTER TABLE app.people OWNER TO app_owner;
INSERT INTO app.people (email, span, spans, pair, name, tags, doc, raw, "select")
  SELECT 'user' || g || '@example.com', app.int_span(g, g + 5), app.int_spans(app.int_span(g, g + 1)), ROW(g, E'tab\there')::app.pair,
         E'Näme "' || g || E'"\n\\N \\. new line', hstore('k', g::text), jsonb_build_object('n', g, 'é', NULL),
         decode(md5(g::text), 'hex'), g / 3.0
    FROM generate_series(1, 300) g;
INSERT INTO app.people (email, name) VALUES ('empty@example.com', ''), ('null@example.com', NULL);
GRANT SELECT (id, name), UPDATE (mood) ON app.people TO app_reader;
GRANT SELECT ON app.people TO "Röle ""quoted"" name" WITH GRANT OPTION;
COMMENT ON TABLE app.people IS E'line one\nline two';
COMMENT ON COLUMN app.people."select" IS 'a word of SQL';
ALTER TABLE app.people ALTER COLUMN doc SET STORAGE EXTERNAL, ALTER COLUMN raw SET STATISTICS 500;
ALTER TABLE app.people SET (fillfactor = 70, autovacuum_enabled = false);
CREATE INDEX "people Näme trgm" ON app.people USING gin (name gin_trgm_ops);
CREATE INDEX ON app.people (lower(name) DESC NULLS LAST) INCLUDE (id) WHERE touched;
CREATE UNIQUE INDEX people_nulls ON app.people (id, mood) NULLS NOT DISTINCT;
CREATE STATISTICS app.people_stats (dependencies, mcv) ON mood, touched FROM app.people;
COMMENT ON INDEX app.people_nulls IS 'an index';
ALTER TABLE app.people CLUSTER ON people_pkey;
ALTER TABLE app.people REPLICA IDENTITY USING INDEX people_pkey;

CREATE TABLE "Mixed Case"."a ""quoted"" table, with 'all' of \ it" ("spa ce" text, "Ünïcode" serial PRIMARY KEY, "a.b" int);
INSERT INTO "Mixed Case"."a ""quoted"" table, with 'all' of \ it" ("spa ce") VALUES ('x'), (NULL), ('');
CREATE TABLE "schéma ""quoted""".naïve (id bigserial, dropped int, kept text);
ALTER TABLE "schéma ""quoted""".naïve DROP COLUMN dropped;
ALTER TABLE "schéma ""quoted""".naïve OWNER TO "Röle ""quoted"" name";
INSERT INTO "schéma ""quoted""".naïve (kept) SELECT repeat('é', g) FROM generate_series(1, 50) g;
CREATE TABLE app.no_columns ();
INSERT INTO app.no_columns DEFAULT VALUES;
CREATE UNLOGGED TABLE app.unlogged AS SELECT g AS n FROM generate_series(1, 20) g;
CREATE TABLE app.wide AS SELECT g AS n, repeat(md5(g::text), 2000) AS toasted FROM generate_series(1, 20) g;
CREATE TABLE app.of_type OF app.pair;

-- keys and constraints
CREATE TABLE app.chicken (id int PRIMARY KEY, egg int);
CREATE TABLE app.egg (id int PRIMARY KEY, chicken int REFERENCES app.chicken DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO app.chicken SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO app.egg SELECT g, 11 - g FROM generate_series(1, 10) g;
COMMIT;
ALTER TABLE app.chicken ADD FOREIGN KEY (egg) REFERENCES app.egg ON DELETE SET NULL (egg) DEFERRABLE;
CREATE TABLE app.self (id int PRIMARY KEY, parent int REFERENCES app.self);
INSERT INTO app.self SELECT g, nullif(g - 1, 0) FROM generate_series(1, 30) g;
CREATE TABLE app.room (id int, during tstzrange, EXCLUDE USING gist (id WITH =, during WITH &&));
INSERT INTO app.room VALUES (1, '[2020-01-01,2020-02-01)'), (1, '[2020-02-01,2020-03-01)');
CREATE TABLE app.sloppy (n int, person int);
INSERT INTO app.sloppy VALUES (-1, -1);
ALTER TABLE app.sloppy ADD CONSTRAINT positive CHECK (n > 0) NOT VALID;
ALTER TABLE app.sloppy ADD CONSTRAINT of_person FOREIGN KEY (person) REFERENCES app.people NOT VALID;
COMMENT ON CONSTRAINT positive ON app.sloppy IS 'not valid';

-- partitions and inheritance
CREATE TABLE app.events (id bigint GENERATED BY DEFAULT AS IDENTITY, at date NOT NULL, kind text)
  PARTITION BY RANGE (at);
CREATE TABLE app.events_2020 PARTITION OF app.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE app.events_2021 PARTITION OF app.events FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (kind);
CREATE TABLE "Mixed Case"."events 2021 A" PARTITION OF app.events_2021 FOR VALUES IN ('a', NULL);
CREATE TABLE app.events_rest PARTITION OF app.events DEFAULT PARTITION BY HASH (id);
CREATE TABLE app.events_rest_0 PARTITION OF app.events_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.events_rest_1 PARTITION OF app.events_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON app.events (kind);
ALTER TABLE app.events_2020 ADD PRIMARY KEY (id, at);
INSERT INTO app.events (at, kind) SELECT date '2020-01-01' + g * 3, CASE WHEN g BETWEEN 100 AND 260 THEN 'a' ELSE 'b' END
  FROM generate_series(0, 400) g WHERE g < 122 OR g > 243 OR g BETWEEN 130 AND 200;
CREATE TABLE app.shape (id int, name text);
CREATE TABLE app.circle (radius float8) INHERITS (app.shape);
INSERT INTO app.shape VALUES (1, 'shape');
INSERT INTO app.circle VALUES (2, 'circle', 0.1);

-- views, rules, triggers, policies
CREATE VIEW app.happy WITH (security_barrier) AS SELECT id, name FROM app.people WHERE mood = 'happy; DROP' WITH LOCAL CHECK OPTION;
CREATE VIEW app.total_of AS SELECT app.total(id) AS total FROM app.people;
CREATE RECURSIVE VIEW app.chain (id) AS SELECT 1 UNION ALL SELECT id + 1 FROM chain WHERE id < 5;
CREATE MATERIALIZED VIEW app.summary AS SELECT mood, count(*) FROM app.people GROUP BY mood;
CREATE UNIQUE INDEX ON app.summary (mood);
CREATE MATERIALIZED VIEW app.not_populated AS SELECT * FROM app.summary WITH NO DATA;
CREATE RULE no_delete AS ON DELETE TO app.self DO INSTEAD NOTHING;
CREATE RULE happy_insert AS ON INSERT TO app.total_of DO INSTEAD SELECT 1;
CREATE TRIGGER touch BEFORE UPDATE OF name ON app.people FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION app.touch();
CREATE TRIGGER "off" BEFORE INSERT ON app.people FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.people DISABLE TRIGGER "off";
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON app.self DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.touch();
COMMENT ON TRIGGER touch ON app.people IS 'a trigger';
CREATE EVENT TRIGGER on_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION app.nothing();
ALTER TABLE app.self ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.self FORCE ROW LEVEL SECURITY;
CREATE POLICY "own rows" ON app.self AS RESTRICTIVE FOR SELECT TO app_reader, "Röle ""quoted"" name" USING (id > 0);
CREATE POLICY everyone ON app.self USING (true) WITH CHECK (id < 1000);

-- sequences
CREATE SEQUENCE app.odd START -5 INCREMENT -3 MINVALUE -100 MAXVALUE 10 CACHE 4 CYCLE;
SELECT setval('app.odd', -50, false) \g /dev/null
CREATE SEQUENCE app.big AS bigint;
SELECT setval('app.big', 9223372036854775806) \g /dev/null
CREATE SEQUENCE app.small AS smallint OWNED BY app.sloppy.n;
GRANT USAGE ON SEQUENCE app.odd TO app_reader;

-- elsewhere
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'localhost', dbname 'it''s');
CREATE USER MAPPING FOR app_reader SERVER elsewhere OPTIONS (user 'someone');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'anyone');
CREATE FOREIGN TABLE app.remote (id int OPTIONS (column_name 'ID') NOT NULL, t text) SERVER elsewhere OPTIONS (table_name 'far');
GRANT USAGE ON FOREIGN SERVER elsewhere TO app_reader;
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert');
CREATE PUBLICATION "some" FOR TABLE app.people (id, name) WHERE (id > 5);
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA "Mixed Case";

-- privileges
GRANT CREATE ON SCHEMA public TO app_owner;
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO app_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app GRANT SELECT ON TABLES TO app_reader;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON TYPE app.mood TO app_reader;
REVOKE ALL ON TYPE app.pair FROM PUBLIC;

-- large objects
SELECT lo_from_bytea(1000 + g, convert_to(repeat('object ' || g || ' ', g * 20), 'UTF8')) FROM generate_series(1, 60) g \g /dev/null
SELECT lo_create(2000) \g /dev/null
SELECT lo_from_bytea(2001, decode(repeat('00ff5c', 400000), 'hex')) \g /dev/null
ALTER LARGE OBJECT 1001 OWNER TO app_owner;
GRANT SELECT ON LARGE OBJECT 1002 TO app_reader;
COMMENT ON LARGE OBJECT 1003 IS 'a large object';
