-- Roles and databases: the read models' and the schema registry's. Runs once, on an empty data folder.
CREATE ROLE tailwater LOGIN CREATEDB PASSWORD 'tailwater';
CREATE DATABASE tailwater OWNER tailwater;
CREATE ROLE registry LOGIN PASSWORD 'registry';
CREATE DATABASE registry OWNER registry;
