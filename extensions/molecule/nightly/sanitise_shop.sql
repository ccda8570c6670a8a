UPDATE customers SET email = 'customer' || id || '@staging.invalid';
