/*
 * What the authentication plugins for MariaDB and MySQL share: they take the client's answer as an IAM token and verify
 * its signature, as the AWSAuthenticationPlugin of RDS and Aurora does.
 *
 * AUTH_RDS_IAM_CONFIG in the server's environment names a file, read at every login:
 *   host NAME | port NUMBER | region NAME | skew SECONDS | key ID SECRET SESSION-TOKEN-OR-HYPHEN    (one per line)
 * AUTH_RDS_IAM_LOG names a file that gets one line of JSON per decision. Tokens are never written anywhere.
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_TOKEN 16384
#define MAX_PARAMETERS 16
#define DIGEST 32
#define OUR_PLUGIN "AWSAuthenticationPlugin"

/* Each plugin brings its server's own. */
static void sha256(unsigned char *out, const void *data, size_t length);

typedef struct {
  char name[64];
  char value[MAX_TOKEN];
} parameter;

typedef struct {
  char text[MAX_TOKEN + 1]; /* the token */
  char host[512], port[16];
  parameter parameters[MAX_PARAMETERS];
  int count;
  char canonical[2 * MAX_TOKEN];
  char to_sign[1024];
} request;

typedef struct {
  int host_ok, port_ok, region_ok, key_ok;
  long skew;
  char secret[256];
  char session_token[MAX_TOKEN];
} accepted;

/* ---- the log ---- */

static void write_log(const char *user, unsigned user_length, unsigned long connection, int bytes, const char *reason) {
  const char *path = getenv("AUTH_RDS_IAM_LOG");
  char name[6 * 128 + 1], line[2048];
  unsigned i, n = 0;
  int fd, length;
  if (!path) return;
  for (i = 0; i < user_length && i < 128; i++) {
    unsigned char c = (unsigned char)user[i];
    if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) n += (unsigned)sprintf(name + n, "\\u%04x", c);
    else name[n++] = (char)c;
  }
  name[n] = 0;
  if (reason)
    length = snprintf(line, sizeof line,
                      "{\"user\":\"%s\",\"connectionId\":%lu,\"tokenBytes\":%d,\"accepted\":false,\"reason\":\"%s\"}\n",
                      name, connection, bytes, reason);
  else
    length = snprintf(line, sizeof line, "{\"user\":\"%s\",\"connectionId\":%lu,\"tokenBytes\":%d,\"accepted\":true}\n",
                      name, connection, bytes);
  /* one write to a file opened for appending: lines of parallel logins don't mix */
  fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return;
  if (write(fd, line, (size_t)length) < 0) fprintf(stderr, OUR_PLUGIN ": can't write the log\n");
  close(fd);
}

/* ---- signatures ---- */

/* `text` has at most 1024 bytes, `key` at most 256. */
static void hmac(const unsigned char *key, size_t key_length, const char *text, unsigned char *out) {
  unsigned char inner[64 + 1024] = {0}, outer[64 + DIGEST];
  size_t text_length = strlen(text);
  int i;
  if (text_length > 1024) text_length = 1024;
  if (key_length > 64) sha256(inner, key, key_length);
  else memcpy(inner, key, key_length);
  for (i = 0; i < 64; i++) {
    outer[i] = inner[i] ^ 0x5c;
    inner[i] ^= 0x36;
  }
  memcpy(inner + 64, text, text_length);
  sha256(outer + 64, inner, 64 + text_length);
  sha256(out, outer, sizeof outer);
}

static void hex(const unsigned char *digest, char *out) {
  int i;
  for (i = 0; i < DIGEST; i++) sprintf(out + 2 * i, "%02x", digest[i]);
}

/* ---- the token ---- */

static int decode(const char *from, size_t length, char *to, size_t room) {
  size_t i, n = 0;
  for (i = 0; i < length; i++) {
    if (n + 1 >= room) return 0;
    if (from[i] != '%') to[n++] = from[i];
    else {
      char digits[3] = {0};
      if (i + 2 >= length || !isxdigit((unsigned char)from[i + 1]) || !isxdigit((unsigned char)from[i + 2])) return 0;
      digits[0] = from[++i];
      digits[1] = from[++i];
      to[n] = (char)strtol(digits, NULL, 16);
      if (to[n++] == 0) return 0;
    }
  }
  to[n] = 0;
  return 1;
}

static char *encode(const char *from, char *to, const char *end) {
  for (; *from && to + 4 < end; from++) {
    if (isalnum((unsigned char)*from) || strchr("-_.~", *from)) *to++ = *from;
    else to += sprintf(to, "%%%02X", (unsigned char)*from);
  }
  *to = 0;
  return to;
}

static const char *get(const request *r, const char *name) {
  int i;
  for (i = 0; i < r->count; i++)
    if (!strcmp(r->parameters[i].name, name)) return r->parameters[i].value;
  return NULL;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const parameter *)a)->name, ((const parameter *)b)->name);
}

static const char *parse(request *r) {
  static const char *const required[] = {"Action",         "DBUser",        "X-Amz-Algorithm",    "X-Amz-Credential",
                                         "X-Amz-Date",     "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"};
  char *query = strstr(r->text, "/?"), *colon, *at;
  const char *c;
  size_t i;
  for (c = r->text; *c; c++)
    if (*c <= ' ' || *c > '~') return "malformed: bad character";
  if (!query) return "malformed: no query";
  *query = 0;
  query += 2;
  colon = strrchr(r->text, ':');
  if (!colon) return "malformed: no port";
  if ((size_t)(colon - r->text) >= sizeof r->host || strlen(colon + 1) >= sizeof r->port) return "malformed: host";
  memcpy(r->host, r->text, (size_t)(colon - r->text));
  strcpy(r->port, colon + 1);
  for (at = query; at && *at;) {
    char *next = strchr(at, '&'), *equals;
    size_t length = next ? (size_t)(next - at) : strlen(at);
    parameter *p = &r->parameters[r->count];
    equals = memchr(at, '=', length);
    if (!equals || r->count == MAX_PARAMETERS) return "malformed: parameters";
    if (!decode(at, (size_t)(equals - at), p->name, sizeof p->name) ||
        !decode(equals + 1, (size_t)(at + length - equals - 1), p->value, sizeof p->value))
      return "malformed: encoding";
    if (get(r, p->name)) return "malformed: repeated parameter";
    r->count++;
    at = next ? next + 1 : NULL;
  }
  for (i = 0; i < sizeof required / sizeof *required; i++)
    if (!get(r, required[i])) return "incomplete";
  if (r->count != 8 + (get(r, "X-Amz-Security-Token") != NULL)) return "malformed: extra parameters";
  return NULL;
}

static int configure(accepted *a, const request *r, const char *region, const char *key_id) {
  const char *path = getenv("AUTH_RDS_IAM_CONFIG");
  FILE *file = path ? fopen(path, "re") : NULL;
  char *line = NULL;
  size_t room = 0;
  if (!file) return 0;
  a->skew = 300;
  while (getline(&line, &room, file) > 0) {
    char *rest = line, *what = strtok_r(line, " \r\n", &rest), *value = strtok_r(NULL, " \r\n", &rest);
    if (!what || !value) continue;
    if (!strcmp(what, "host")) a->host_ok |= !strcmp(value, r->host);
    else if (!strcmp(what, "port")) a->port_ok |= !strcmp(value, r->port);
    else if (!strcmp(what, "region")) a->region_ok |= !strcmp(value, region);
    else if (!strcmp(what, "skew")) a->skew = atol(value);
    else if (!strcmp(what, "key") && !strcmp(value, key_id)) {
      char *secret = strtok_r(NULL, " \r\n", &rest), *session = strtok_r(NULL, " \r\n", &rest);
      if (!secret || !session) continue;
      a->key_ok = 1;
      snprintf(a->secret, sizeof a->secret, "AWS4%s", secret);
      snprintf(a->session_token, sizeof a->session_token, "%s", strcmp(session, "-") ? session : "");
    }
  }
  free(line);
  fclose(file);
  return 1;
}

/* constant time, like the real one should be */
static int same(const char *a, const char *b) {
  size_t i, n = strlen(a);
  int different = n != strlen(b);
  for (i = 0; !different && i < n; i++) different |= a[i] ^ b[i];
  return !different;
}

static const char *check_signature(request *r, const accepted *a, const char *date, const char *day,
                                   const char *region) {
  char *at = r->canonical, *end = r->canonical + sizeof r->canonical - 512, digest[2 * DIGEST + 1];
  unsigned char hash[DIGEST], key[DIGEST];
  int i;
  qsort(r->parameters, (size_t)r->count, sizeof *r->parameters, by_name);
  at += sprintf(at, "GET\n/\n");
  for (i = 0; i < r->count; i++) {
    if (!strcmp(r->parameters[i].name, "X-Amz-Signature")) continue;
    if (i) *at++ = '&';
    at = encode(r->parameters[i].name, at, end);
    *at++ = '=';
    at = encode(r->parameters[i].value, at, end);
  }
  sha256(hash, "", 0);
  hex(hash, digest);
  snprintf(at, (size_t)(r->canonical + sizeof r->canonical - at), "\nhost:%.400s:%s\n\nhost\n%s", r->host, r->port,
           digest);
  sha256(hash, r->canonical, strlen(r->canonical));
  hex(hash, digest);
  snprintf(r->to_sign, sizeof r->to_sign, "AWS4-HMAC-SHA256\n%s\n%s/%s/rds-db/aws4_request\n%s", date, day, region,
           digest);
  hmac((const unsigned char *)a->secret, strlen(a->secret), day, key);
  hmac(key, DIGEST, region, key);
  hmac(key, DIGEST, "rds-db", key);
  hmac(key, DIGEST, "aws4_request", key);
  hmac(key, DIGEST, r->to_sign, hash);
  hex(hash, digest);
  return same(digest, get(r, "X-Amz-Signature")) ? NULL : "wrong signature";
}

/* NULL when the token is good, else why not */
static const char *verify(request *r, accepted *a, const char *user, unsigned user_length) {
  char credential[256], *rest = credential, *key_id, *day, *region, *service, *end;
  const char *date, *session, *why = parse(r), *after;
  struct tm tm;
  long expires;
  time_t signed_at, now = time(NULL);
  if (why) return why;
  if (strcmp(get(r, "Action"), "connect")) return "wrong action";
  if (strcmp(get(r, "X-Amz-Algorithm"), "AWS4-HMAC-SHA256")) return "wrong algorithm";
  if (strcmp(get(r, "X-Amz-SignedHeaders"), "host")) return "wrong signed headers";
  if (strlen(get(r, "X-Amz-Credential")) >= sizeof credential) return "malformed: credential";
  strcpy(credential, get(r, "X-Amz-Credential"));
  key_id = strtok_r(NULL, "/", &rest);
  day = strtok_r(NULL, "/", &rest);
  region = strtok_r(NULL, "/", &rest);
  service = strtok_r(NULL, "/", &rest);
  end = strtok_r(NULL, "", &rest);
  if (!end || strcmp(end, "aws4_request")) return "malformed: credential";
  if (strcmp(service, "rds-db")) return "wrong service";
  if (!configure(a, r, region, key_id)) return "the stand-in has no configuration";
  if (!a->host_ok) return "wrong host";
  if (!a->port_ok) return "wrong port";
  if (!a->region_ok) return "wrong region";
  /* the case of letters counts */
  if (strlen(get(r, "DBUser")) != user_length || memcmp(get(r, "DBUser"), user, user_length)) return "wrong user";
  date = get(r, "X-Amz-Date");
  memset(&tm, 0, sizeof tm);
  after = strptime(date, "%Y%m%dT%H%M%SZ", &tm);
  if (!after || *after || strlen(date) != 16 || strlen(day) != 8 || strncmp(date, day, 8)) return "malformed: date";
  expires = atol(get(r, "X-Amz-Expires"));
  if (expires < 1 || expires > 900) return "wrong expiry";
  signed_at = timegm(&tm);
  if (now > signed_at + expires) return "expired";
  if (signed_at > now + a->skew) return "from the future";
  if (!a->key_ok) return "unknown access key";
  session = get(r, "X-Amz-Security-Token");
  if (!same(a->session_token, session ? session : "")) return "wrong session token";
  return check_signature(r, a, date, day, region);
}

/* ---- the decision ---- */

/* Verifies the `length` bytes that the client sent, and logs the outcome. Returns the token's length, or -1 if refused. */
static int decide(const unsigned char *packet, int length, const char *user, unsigned user_length,
                  unsigned long connection, const char *refusal) {
  const char *reason = refusal;
  request *r = calloc(1, sizeof *r);
  accepted *a = calloc(1, sizeof *a);
  if (reason) {
  } else if (!r || !a) reason = "out of memory";
  else if (length == 0 || packet[length - 1] != 0) reason = "malformed: no NUL at the end";
  else if (length == 1) reason = "empty";
  else if (length > MAX_TOKEN) reason = "malformed: too long";
  else {
    memcpy(r->text, packet, (size_t)length);
    reason = strlen(r->text) + 1 == (size_t)length ? verify(r, a, user, user_length) : "malformed: bad character";
  }
  free(r);
  free(a);
  length -= length > 0 && packet[length - 1] == 0;
  write_log(user, user_length, connection, length, reason);
  return reason ? -1 : length;
}
