/*
 * A stand-in for the AWSAuthenticationPlugin of RDS and Aurora, for a MariaDB server: it asks the client for
 * mysql_clear_password and takes what it gets as an IAM token, which iam_token.h verifies.
 */
#include "iam_token.h"

#include <mysql/plugin_auth.h>
#include <mysql/plugin_audit.h>

/* The server puts the service's address here when it loads the plugin; until then it is the version asked for. */
struct my_sha2_service_st *my_sha2_service = (struct my_sha2_service_st *)0x0100;

static void sha256(unsigned char *out, const void *data, size_t length) { my_sha256(out, data, length); }

/* ---- the authentication plugin ---- */

/* The result of this thread's login in the plugin below, for the audit plugin. */
static __thread struct {
  unsigned long connection;
  int bytes;
} passed;

static int authenticate(MYSQL_PLUGIN_VIO *vio, MYSQL_SERVER_AUTH_INFO *info) {
  unsigned long connection = thd_get_thread_id(info->thd);
  unsigned char *packet;
  /* Takes the answer from the login packet if the client has named mysql_clear_password itself, else asks for it. */
  int length = vio->read_packet(vio, &packet);
  passed.connection = 0;
  if (length < 0) return CR_ERROR;
  info->password_used = PASSWORD_USED_YES;
  passed.bytes = decide(packet, length, info->user_name, info->user_name_length, connection, NULL);
  if (passed.bytes < 0) return CR_ERROR;
  passed.connection = connection;
  return CR_OK;
}

static struct st_mysql_auth auth_handler = {
    MYSQL_AUTHENTICATION_INTERFACE_VERSION, "mysql_clear_password", authenticate, NULL, NULL,
};

/* ---- the audit plugin ---- */

/*
 * The server looks at REQUIRE SSL only after the authentication plugin has said yes, and the plugin can't see whether
 * there is TLS. So a login that the server refuses after all gets a second line.
 */
static void notify(MYSQL_THD thd, unsigned int class, const void *data) {
  const struct mysql_event_connection *event = data;
  (void)thd;
  if (class != MYSQL_AUDIT_CONNECTION_CLASS || event->event_subclass == MYSQL_AUDIT_CONNECTION_DISCONNECT) return;
  if (passed.connection == event->thread_id && event->status == 1045)
    write_log(event->user, event->user_length, event->thread_id, passed.bytes, "no TLS");
  passed.connection = 0;
}

static struct st_mysql_audit audit_handler = {
    MYSQL_AUDIT_INTERFACE_VERSION, NULL, notify, {MYSQL_AUDIT_CONNECTION_CLASSMASK},
};

maria_declare_plugin(auth_rds_iam){
    MYSQL_AUTHENTICATION_PLUGIN,
    &auth_handler,
    OUR_PLUGIN,
    "mysql-iam-proxy",
    "Stand-in for the IAM authentication of RDS",
    PLUGIN_LICENSE_GPL,
    NULL,
    NULL,
    0x0100,
    NULL,
    NULL,
    "1.0",
    MariaDB_PLUGIN_MATURITY_EXPERIMENTAL,
},
{
    MYSQL_AUDIT_PLUGIN,
    &audit_handler,
    "AWSAuthenticationAudit",
    "mysql-iam-proxy",
    "Logs logins that the server refuses after a good token",
    PLUGIN_LICENSE_GPL,
    NULL,
    NULL,
    0x0100,
    NULL,
    NULL,
    "1.0",
    MariaDB_PLUGIN_MATURITY_EXPERIMENTAL,
}
maria_declare_plugin_end;
