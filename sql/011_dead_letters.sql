-- Dead letters that are retried, and sent to a Kafka topic (kafka.dead_letter_topic).

ALTER TABLE plist.dead_letters ADD COLUMN IF NOT EXISTS broker_time TIMESTAMPTZ;
ALTER TABLE plist.dead_letters ADD COLUMN IF NOT EXISTS tries INTEGER NOT NULL DEFAULT 0;  -- retries that ended here again
ALTER TABLE plist.dead_letters ADD COLUMN IF NOT EXISTS tried_at TIMESTAMPTZ;
ALTER TABLE plist.dead_letters ADD COLUMN IF NOT EXISTS retry_at TIMESTAMPTZ;              -- an operator wants it to be retried
ALTER TABLE plist.dead_letters ADD COLUMN IF NOT EXISTS sent_at TIMESTAMPTZ;               -- to the topic; '-infinity': the broker refused it
CREATE INDEX IF NOT EXISTS dead_letters_due ON plist.dead_letters (id) WHERE retry_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS dead_letters_unsent ON plist.dead_letters (id) WHERE sent_at IS NULL;

-- Headers in their order, duplicates and binary values included, as in parked_events.
ALTER TABLE plist.dead_letters ALTER COLUMN headers SET DEFAULT '[]';
UPDATE plist.dead_letters SET headers = coalesce((SELECT jsonb_agg(jsonb_build_object('name', key, 'value', coalesce(value, '')))
                                                  FROM jsonb_each_text(headers)), '[]')
WHERE jsonb_typeof(headers) = 'object';
