// The shared writer's connections that write, and what each claims first.
//
// Used by shared_writer.c, and by write_batch.c, which makes the serial one when it is
// first needed.
// Threads: see shared_writer.h.
#include "store/store_private.h"

// A connection for batches first claims the database and the region's range of ids; so
// no write reaches a database that is not known to be whole.
static void write_setup(struct pl_shared_writer *writer, void (*use)(void *arg, const char *const *setup),
                        void *arg)
{
	struct pl_buf ids = { 0 }, identity = { 0 }, fields = { 0 };

	pl_statement_claim_ids(&ids, writer->db.config, writer->db.region);
	pl_statement_claim_identity(&identity, writer->db.region, writer->db.key);
	pl_statement_look_at_fields(&fields, writer->db.config->resources, writer->db.config->nresources);
	use(arg, (const char *const[]){ pl_statement_pinned_plans[0], identity.data, ids.data, fields.data,
	                                NULL });
	pl_buf_fini(&fields);
	pl_buf_fini(&ids);
	pl_buf_fini(&identity);
}

struct connecting {
	struct pl_shared_writer *writer;
	struct pl_conn *conn;
};

static void connect_with(void *arg, const char *const *setup)
{
	struct connecting *c = arg;

	c->conn = pl_database_connect(
		&c->writer->db, &(struct pl_database_conn_options){ .purpose = "write",
	                                                            .required_for = "writes",
	                                                            .setup = setup,
	                                                            .first = PL_STATEMENT_CHANGE_BATCH,
	                                                            .nkinds = PL_STATEMENT_MIXED_BATCH + 1 -
	                                                                      PL_STATEMENT_CHANGE_BATCH });
}

struct pl_conn *pl_writer_conns_batch(struct pl_shared_writer *writer)
{
	struct connecting c = { .writer = writer };

	write_setup(writer, connect_with, &c);
	pl_conn_prepare(c.conn, PL_GUARD_STATEMENT, pl_statement_guard_locks);
	return c.conn;
}

static void connect_serial_with(void *arg, const char *const *setup)
{
	struct pl_shared_writer *writer = arg;
	int64_t lock_timeout_us = writer->db.config->database.lock_timeout_us;

	writer->serial.conn = pl_database_connect(
		&writer->db,
		&(struct pl_database_conn_options){
			.purpose = "serial",
			.setup = setup,
			.first = PL_STATEMENT_SERIAL,
			.nkinds = 1,
			.lock_timeout_us = lock_timeout_us > 0 && lock_timeout_us < PL_SERIAL_WAIT_US
	                                           ? lock_timeout_us
	                                           : PL_SERIAL_WAIT_US,
		});
}

void pl_writer_conns_connect_serial(struct pl_shared_writer *writer)
{
	write_setup(writer, connect_serial_with, writer);
	pl_conn_prepare(writer->serial.conn, PL_GUARD_STATEMENT, pl_statement_guard_locks);
}

static void set_up_anew(void *arg, const char *const *setup)
{
	struct pl_conn *conn = arg;

	pl_conn_set_setup(conn, setup);
	pl_conn_drop(conn, "the region counts its writes under another key");
}

void pl_writer_conns_set_up_anew(struct pl_shared_writer *writer)
{
	for (int i = 0; i < writer->nbatch_conns; i++)
		write_setup(writer, set_up_anew, writer->batch_conns[i].conn);
	if (writer->serial.conn)
		write_setup(writer, set_up_anew, writer->serial.conn);
}
