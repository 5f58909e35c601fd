/*
 * A stand-in for the AWSAuthenticationPlugin of RDS and Aurora, for a MySQL server: it asks the client for
 * mysql_clear_password and takes what it gets as an IAM token, which iam_token.h verifies.
 *
 * MySQL's headers for plugins come only with its source, which takes 500 MB. The plugin interface is plain C and keeps its
 * layout within a version, so the few declarations that a plugin needs are written down here. The server checks both
 * version numbers when it loads the plugin. Source: include/mysql/plugin.h, plugin_auth.h and plugin_auth_common.h.
 */
#include "../mariadb-plugin/iam_token.h"

/* ---- the plugin interface ---- */

#define PLUGIN_INTERFACE_VERSION 0x010B
#define AUTHENTICATION_PLUGIN 7
#define AUTHENTICATION_INTERFACE_VERSION 0x0201
#define LICENSE_GPL 1
#define CR_OK -1
#define CR_ERROR 0

typedef struct {
  int protocol; /* 1 is TCP */
  int socket;
  _Bool is_tls_established;
} vio_info;

typedef struct vio {
  int (*read_packet)(struct vio *vio, unsigned char **packet);
  int (*write_packet)(struct vio *vio, const unsigned char *packet, int length);
  void (*info)(struct vio *vio, vio_info *info);
} vio;

/* The server's has more fields behind these, which this plugin does not use. */
typedef struct {
  char *user_name;
  unsigned user_name_length;
  const char *auth_string;
  unsigned long auth_string_length;
  char authenticated_as[96 + 1];
  char external_user[512];
  int password_used;
} auth_info;

typedef struct {
  int interface_version;
  const char *client_plugin;
  int (*authenticate)(vio *vio, auth_info *info);
  int (*generate_authentication_string)(char *out, unsigned *out_length, const char *in, unsigned in_length);
  int (*validate_authentication_string)(char *const string, unsigned length);
  int (*set_salt)(const char *password, unsigned password_length, unsigned char *salt, unsigned char *salt_length);
  unsigned long authentication_flags;
  int (*compare_password_with_hash)(const char *hash, unsigned long hash_length, const char *cleartext,
                                    unsigned long cleartext_length, int *is_error);
} auth_handler;

typedef struct {
  int type;
  void *handler;
  const char *name, *author, *description;
  int license;
  int (*init)(void *plugin);
  int (*check_uninstall)(void *plugin);
  int (*deinit)(void *plugin);
  unsigned version;
  void *status_variables;
  void **system_variables;
  void *reserved;
  unsigned long flags;
} plugin;

/* ---- what the server and its libcrypto export ---- */

unsigned char *SHA256(const unsigned char *data, size_t length, unsigned char *out);
void *current_session(void) __asm__("_Z19thd_get_current_thdv");
unsigned thd_get_thread_id(const void *session);

static void sha256(unsigned char *out, const void *data, size_t length) { SHA256(data, length, out); }

/* ---- the authentication plugin ---- */

static int authenticate(vio *vio, auth_info *info) {
  unsigned char *packet;
  vio_info connection;
  /* Takes the answer from the login packet if the client has named mysql_clear_password itself, else asks for it. */
  int length = vio->read_packet(vio, &packet);
  if (length < 0) return CR_ERROR;
  info->password_used = 1;
  vio->info(vio, &connection);
  return decide(packet, length, info->user_name, info->user_name_length, thd_get_thread_id(current_session()),
                connection.protocol == 1 && !connection.is_tls_established ? "no TLS" : NULL) < 0
             ? CR_ERROR
             : CR_OK;
}

/* CREATE USER … IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS': the string is kept as it is. */
static int keep_string(char *out, unsigned *out_length, const char *in, unsigned in_length) {
  if (*out_length < in_length) return 1;
  memcpy(out, in, in_length);
  *out_length = in_length;
  return 0;
}

static int accept_string(char *const string, unsigned length) {
  (void)string;
  (void)length;
  return 0;
}

static int no_salt(const char *password, unsigned password_length, unsigned char *salt, unsigned char *salt_length) {
  (void)password;
  (void)password_length;
  (void)salt;
  *salt_length = 0;
  return 0;
}

static auth_handler handler = {
    AUTHENTICATION_INTERFACE_VERSION, "mysql_clear_password", authenticate, keep_string, accept_string, no_salt, 0, NULL,
};

int _mysql_plugin_interface_version_ = PLUGIN_INTERFACE_VERSION;
int _mysql_sizeof_struct_st_plugin_ = sizeof(plugin);
plugin _mysql_plugin_declarations_[] = {
    {
        AUTHENTICATION_PLUGIN,
        &handler,
        OUR_PLUGIN,
        "mysql-iam-proxy",
        "Stand-in for the IAM authentication of RDS",
        LICENSE_GPL,
        NULL,
        NULL,
        NULL,
        0x0100,
        NULL,
        NULL,
        NULL,
        0,
    },
    {0},
};
