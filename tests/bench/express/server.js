// The same application with Express 5, pg and kafkajs, as a careful team would write it: a reference of ./run bench.
//
// This is the fastest correct form that we know. A write is one prepared statement in one transaction on one client
// (record, remembered request and outbox together, as the contract requires). The size of the pool (POOL) and the number
// of processes (WORKERS) are those that measured best. Logging, ETag hashing of bodies and x-powered-by are off. The
// primary process relays the outbox to Kafka.
"use strict";
const cluster = require("node:cluster");
const crypto = require("node:crypto");

const workers = Number(process.env.WORKERS || 1);
const region = process.env.REGION || "us";

const PUT = {
  name: "put",
  text: `
    with seen as materialized (select fingerprint, status, response_body from processed_requests where request_id = $4),
    u as (
      update properties set price = $3, version = version + 1, updated_at = now(), region_origin = $6
      where id = $1 and version = $2 and not exists (select from seen)
      returning id, price, bedrooms, bathrooms, region_origin, version, updated_at),
    j as materialized (select id, json_build_object('id', id, 'price', price, 'bedrooms', bedrooms, 'bathrooms', bathrooms,
      'region_origin', region_origin, 'version', version, 'updated_at', updated_at)::text body from u),
    o as (insert into outbox (record_id, value) select id, body from j),
    r as (insert into processed_requests (request_id, fingerprint, status, response_body) select $4, $5, 200, body::jsonb from j)
    select (select body from j) body, (select fingerprint from seen) seen, (select version from properties where id = $1) current`,
};
const GET = { name: "get", text: "select id, price, bedrooms, bathrooms, region_origin, version, updated_at from properties where id = $1" };

async function relay() {
  const { Kafka, logLevel } = require("kafkajs");
  const { Client } = require("pg");
  const db = new Client({ connectionString: process.env.DATABASE_URL });
  await db.connect();
  const producer = new Kafka({ brokers: [process.env.KAFKA_BROKER], logLevel: logLevel.NOTHING }).producer({ idempotent: true });
  await producer.connect();
  for (;;) {
    const { rows } = await db.query({ name: "take", text: "select id, record_id, value from outbox order by id limit 1000" });
    if (rows.length === 0) {
      await new Promise((done) => setTimeout(done, 20));
      continue;
    }
    await producer.send({
      topic: "bench-property-updates",
      messages: rows.map((row) => ({ key: String(row.record_id), value: row.value, headers: { origin: region } })),
    });
    await db.query({ name: "sent", text: "delete from outbox where id = any($1)", values: [rows.map((row) => row.id)] });
  }
}

function problem(res, status, title, more) {
  res.status(status).json({ status, title, error: title, ...more });
}

function serve() {
  const express = require("express");
  const { Pool, types } = require("pg");
  types.setTypeParser(1700, Number);
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: Number(process.env.POOL || 16) });
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use(express.json({ limit: "64kb" }));

  app.get("/health", (req, res) => res.json({ status: "ok", region }));

  app.get("/:region/properties/:id", async (req, res) => {
    const { rows } = await pool.query({ ...GET, values: [req.params.id] });
    if (rows.length === 0) return problem(res, 404, "Property not found");
    res.json(rows[0]);
  });

  app.put("/:region/properties/:id", async (req, res) => {
    const requestId = req.get("X-Request-ID");
    const { price, version } = req.body;
    if (!requestId) return problem(res, 400, "X-Request-ID is missing");
    if (typeof price !== "number" || price < 0 || !Number.isInteger(version)) return problem(res, 400, "Bad body");
    const fingerprint = crypto.createHash("sha256").update(`PUT ${req.params.id} ${price} ${version}`).digest("hex");
    const { rows } = await pool.query({ ...PUT, values: [req.params.id, version, price, requestId, fingerprint, region] });
    const { body, seen, current } = rows[0];
    if (seen) return problem(res, 422, seen === fingerprint ? "Duplicate request" : "Request ID reused with a different request");
    if (current === null) return problem(res, 404, "Property not found");
    if (!body) return problem(res, 409, "Conflict: version mismatch", { current_version: current });
    res.type("json").send(body);
  });

  app.listen(Number(process.env.PORT), "127.0.0.1");
}

if (cluster.isPrimary && workers > 1) {
  for (let i = 0; i < workers; i++) cluster.fork();
  if (process.env.KAFKA_BROKER) relay();
} else {
  serve();
  if (cluster.isPrimary && process.env.KAFKA_BROKER) relay();
}
