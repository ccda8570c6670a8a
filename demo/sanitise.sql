-- Removes what staging must not see. It runs on the scratch database, in one transaction, before anybody can connect.
UPDATE customers
   SET name = 'Customer ' || id,
       email = 'customer' || id || '@staging.invalid',
       phone = NULL,
       address = jsonb_build_object('city', address -> 'city'),
       password_hash = '';
UPDATE orders SET note = NULL WHERE note IS NOT NULL;
TRUNCATE audit;
