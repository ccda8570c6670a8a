-- What makes a difference to a role that is not a superuser; after every_kind_of_object.sql. Needs the role only_there.
SET client_min_messages = warning;

-- only a superuser may make these
CREATE FUNCTION app.plus(int, int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4pl';
CREATE AGGREGATE app.average(int8) (SFUNC = int8_avg_accum, STYPE = internal, FINALFUNC = numeric_poly_avg);
CREATE TYPE app.base;
CREATE FUNCTION app.base_in(cstring) RETURNS app.base LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION app.base_out(app.base) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE app.base (INPUT = app.base_in, OUTPUT = app.base_out, LIKE = int4);
COMMENT ON TYPE app.base IS 'of its own';
CREATE CAST (app.base AS int) WITHOUT FUNCTION;
CREATE VIEW app.of_base AS SELECT '5'::app.base AS b;
GRANT SELECT ON app.of_base TO app_reader;
CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;
CREATE TEXT SEARCH PARSER app.parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE app.template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY app.of_template (TEMPLATE = app.template);
CREATE TEXT SEARCH CONFIGURATION app.of_parser (PARSER = app.parser);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER of_nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FUNCTION app.handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE TRUSTED LANGUAGE plother HANDLER app.handler;
CREATE FUNCTION app.in_plother() RETURNS int LANGUAGE plother AS 'BEGIN RETURN 1; END';

CREATE INDEX by_class ON app.chicken (egg app.int_ops);
CREATE EVENT TRIGGER off ON ddl_command_end EXECUTE FUNCTION app.nothing();
ALTER EVENT TRIGGER off DISABLE;
COMMENT ON EVENT TRIGGER off IS 'switched off';
COMMENT ON PUBLICATION everything IS 'all of it';
GRANT SELECT ON pg_catalog.pg_authid TO app_reader;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_waldir() TO app_reader;
GRANT EXECUTE ON FUNCTION hstore_to_json(hstore) TO app_reader;
COMMENT ON EXTENSION postgres_fdw IS 'not ours';

-- rights that have to be given in the right order, by the right role
CREATE TABLE app.read_only (id int PRIMARY KEY);
ALTER TABLE app.read_only OWNER TO app_owner;
REVOKE ALL ON app.read_only FROM app_owner;
GRANT SELECT ON app.read_only TO app_owner;
CREATE TABLE app.passed_on (id int PRIMARY KEY);
ALTER TABLE app.passed_on OWNER TO app_owner;
SET ROLE app_owner;
GRANT SELECT ON app.passed_on TO app_reader WITH GRANT OPTION;
SET ROLE app_reader;
GRANT SELECT ON app.passed_on TO "Röle ""quoted"" name";
RESET ROLE;
CREATE FUNCTION app.as_owner() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
ALTER FUNCTION app.as_owner() OWNER TO app_owner;
CREATE PUBLICATION of_owner FOR TABLE app.read_only;
ALTER PUBLICATION of_owner OWNER TO app_owner;
ALTER TYPE app.mood OWNER TO app_owner;
ALTER DOMAIN app.email OWNER TO app_owner;
ALTER COLLATION app.german OWNER TO app_owner;
ALTER CONVERSION app.utf8_to_latin1 OWNER TO app_owner;
ALTER OPERATOR app.=== (app.pair, app.pair) OWNER TO app_owner;
ALTER AGGREGATE app.total(int) OWNER TO app_owner;
ALTER PROCEDURE app.do_it(int, text) OWNER TO app_owner;
ALTER STATISTICS app.people_stats OWNER TO app_owner;
ALTER TEXT SEARCH DICTIONARY app.english_short OWNER TO app_owner;
ALTER TEXT SEARCH CONFIGURATION app.english OWNER TO app_owner;
ALTER MATERIALIZED VIEW app.summary OWNER TO app_owner;
ALTER SEQUENCE app.odd OWNER TO "Röle ""quoted"" name";

-- roles that are not there
CREATE SCHEMA strange AUTHORIZATION only_there;
CREATE FUNCTION strange.definer() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
ALTER FUNCTION strange.definer() OWNER TO only_there;
GRANT EXECUTE ON FUNCTION strange.definer() TO app_reader;
CREATE PROCEDURE strange.procedure() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
ALTER PROCEDURE strange.procedure() OWNER TO only_there;
GRANT SELECT ON app.read_only TO only_there;
CREATE POLICY of_stranger ON app.self TO only_there USING (true);
ALTER DEFAULT PRIVILEGES FOR ROLE only_there GRANT SELECT ON TABLES TO app_reader;

-- row security that holds for the owner too, and a key that has to be checked
CREATE TABLE app.parent (id int PRIMARY KEY);
CREATE TABLE app.child (id int PRIMARY KEY, parent int REFERENCES app.parent);
INSERT INTO app.parent SELECT generate_series(1, 2000);
INSERT INTO app.child SELECT g, g FROM generate_series(1, 2000) g;
ALTER TABLE app.parent ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE app.child ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY few ON app.parent USING (id < 10);
ALTER TABLE app.parent OWNER TO app_owner;
ALTER TABLE app.child OWNER TO app_owner;
ALTER SCHEMA public OWNER TO app_owner;
