-- Roles that the sample databases use; run on a server, any number of times.
SELECT format('CREATE ROLE %I NOLOGIN', name)
  FROM unnest(ARRAY['app_owner', 'app_reader', 'Röle "quoted" name']) name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
