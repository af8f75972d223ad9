-- The owner makes the tables; the services can only read and write records.
\set owner_password `cat /run/secrets/owner-password`
\set app_password `cat /run/secrets/app-password`
CREATE ROLE strongroom_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE strongroom_app LOGIN PASSWORD :'app_password';
GRANT CREATE ON DATABASE records TO strongroom_owner;
