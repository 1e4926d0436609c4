-- The tables of the Express reference: only the columns of the contract.
create table properties (id bigint primary key, price decimal(12,2) not null, bedrooms integer, bathrooms integer,
  region_origin varchar(32) not null, version integer not null default 1, updated_at timestamptz not null default now()) with (fillfactor = 80);
create table processed_requests (request_id varchar(255) primary key, fingerprint text not null, status smallint not null,
  response_body jsonb, created_at timestamptz not null default now());
create table outbox (id bigint generated always as identity primary key, record_id bigint not null, value text not null,
  created_at timestamptz not null default now());
insert into properties (id, price, bedrooms, bathrooms, region_origin)
  select i, 100000 + i, i % 5, i % 3, 'us' from generate_series(1, 1000) i;
