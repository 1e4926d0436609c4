// plist-admin: the operator's tool.
//
//   admin/main       from a command line to an exit status
//   admin/invocation  options and words, checked
//   admin/commands   the table of commands; each is in its cmd_*.c with its help, its
//                    options and its function
//   admin/table      data as a table or as JSON, from one definition of columns: standard
//                    output
//   admin/messages    what is said to people: standard error
//   admin/region_sessions  sessions to the databases of the regions; which could be
//   reached
//   admin/daemon     what a region's daemon says of itself, over HTTP
//   admin/offsets    offsets of the consumer groups, over Kafka's protocol
//
// Threads: one, and those of librdkafka where Kafka is asked.
#include "admin/command.h"

int main(int argc, char **argv)
{
	return pl_admin_main(argc, argv);
}
