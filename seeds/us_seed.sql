-- The initial listings of us, ids 1 to 500. Every region loads the files of all regions.
-- Each value depends only on the id, so all regions have identical rows.
--
-- Loading this file again changes nothing. The table's trigger sets the vector to one write
-- of us.

INSERT INTO properties (id, price, bedrooms, bathrooms, region_origin, version, updated_at)
SELECT id,
       120000 + (id * 7919 % 1380) * 1000 + (id * 31 % 4) * 250,
       1 + id * 7 % 6,
       1 + id * 11 % 4,
       'us',
       1,
       timestamptz '2026-01-01 00:00:00+00' + id * interval '1 minute'
FROM generate_series(1, 500) AS id
ON CONFLICT (id) DO NOTHING;
