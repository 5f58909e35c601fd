// Carries out the steps of test/compat/behaviours.ts with go-sql-driver/mysql; a line of JSON for each behaviour.
package main

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"
)

type target struct {
	Host, User, Password, Database, Socket, CA string
	Port                                       int
}

type step struct {
	Do, On, To, SQL             string
	User, Password              *string
	Database                    json.RawMessage
	Compress, LocalInfile       bool
	Multi, Digest               bool
	Size, Ms                    int
	Params                      []any
}

type input struct {
	Targets    map[string]target
	Behaviours []struct {
		ID    string
		Steps []step
	}
	Big struct {
		Repeat string
		Times  int
	}
}

type unsupported struct{ reason string }

func (u unsupported) Error() string { return u.reason }

var given input

func main() {
	if err := json.Unmarshal([]byte(os.Getenv("COMPAT")), &given); err != nil {
		panic(err)
	}
	version := "?"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/go-sql-driver/mysql" {
				version = strings.TrimPrefix(module.Version, "v")
			}
		}
	}
	emit(map[string]any{"version": version})
	for _, behaviour := range given.Behaviours {
		line := runBehaviour(behaviour.Steps)
		line["behaviour"] = behaviour.ID
		emit(line)
	}
}

func emit(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

func runBehaviour(steps []step) map[string]any {
	connections := map[string]*sql.Conn{}
	defer func() {
		for _, connection := range connections {
			connection.Close()
		}
	}()
	values := []any{}
	for _, step := range steps {
		value, err := runStep(connections, step)
		var none unsupported
		if errors.As(err, &none) {
			return map[string]any{"unsupported": none.reason}
		}
		if err != nil {
			return map[string]any{"values": values, "error": errorOf(err)}
		}
		values = append(values, value)
	}
	return map[string]any{"values": values}
}

func errorOf(err error) []any {
	var server *mysql.MySQLError
	if errors.As(err, &server) {
		return []any{server.Number, string(server.SQLState[:]), server.Message}
	}
	return []any{0, "", err.Error()}
}

func runStep(connections map[string]*sql.Conn, step step) (any, error) {
	background := context.Background()
	name := step.On
	if name == "" {
		name = "a"
	}
	connection := connections[name]
	text := step.SQL
	if strings.Contains(text, "{big}") {
		text = strings.ReplaceAll(text, "{big}", strings.Repeat(given.Big.Repeat, given.Big.Times))
	}
	if strings.Contains(text, "{threadId}") {
		return nil, unsupported{"tells no thread id"}
	}
	switch step.Do {
	case "connect":
		opened, err := connect(step)
		if err == nil {
			connections[name] = opened
		}
		return nil, err
	case "connectFails":
		opened, err := connect(step)
		if err == nil {
			connections[name] = opened
			return nil, errors.New("the login was accepted")
		}
		var none unsupported
		if errors.As(err, &none) {
			return nil, err
		}
		return errorOf(err), nil
	case "query", "execute":
		parameters := []any{}
		for _, value := range step.Params {
			parameters = append(parameters, parameter(value))
		}
		// Without parameters over the text protocol, with them as a prepared statement.
		rows, err := connection.QueryContext(background, text, parameters...)
		if err != nil {
			return nil, err
		}
		return results(rows, step.Digest)
	case "fails":
		_, err := connection.ExecContext(background, text)
		if err == nil {
			return nil, errors.New("there was no error")
		}
		return errorOf(err), nil
	case "identity":
		return []any{nil, nil}, nil
	case "info":
		result, err := connection.ExecContext(background, text)
		if err != nil {
			return nil, err
		}
		affected, _ := result.RowsAffected()
		id, _ := result.LastInsertId()
		return []string{strconv.FormatInt(affected, 10), strconv.FormatInt(id, 10)}, nil
	case "timeout":
		limited, cancel := context.WithTimeout(background, time.Duration(step.Ms)*time.Millisecond)
		defer cancel()
		started := time.Now()
		rows, err := connection.QueryContext(limited, text)
		if err == nil {
			for rows.Next() {
			}
			rows.Close()
		}
		if time.Since(started) < 8*time.Second {
			return "timed out", nil
		}
		return "ran to its end", nil
	case "sleep":
		time.Sleep(time.Duration(step.Ms) * time.Millisecond)
		return nil, nil
	}
	return nil, unsupported{"no " + step.Do}
}

func connect(step step) (*sql.Conn, error) {
	route := step.To
	if route == "" {
		route = "plain"
	}
	to := given.Targets[route]
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = to.User, to.Password, to.Database
	if step.User != nil {
		config.User = *step.User
	}
	if step.Password != nil {
		config.Passwd = *step.Password
	}
	if len(step.Database) > 0 {
		config.DBName = ""
		_ = json.Unmarshal(step.Database, &config.DBName)
	}
	config.Net, config.Addr = "tcp", fmt.Sprintf("%s:%d", to.Host, to.Port)
	if to.Socket != "" {
		config.Net, config.Addr = "unix", to.Socket
	}
	if to.CA != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(to.CA))
		config.TLS = &tls.Config{RootCAs: roots, ServerName: to.Host}
	}
	config.MultiStatements = step.Multi
	config.AllowAllFiles = step.LocalInfile
	if step.Compress {
		if err := config.Apply(mysql.EnableCompression(true)); err != nil {
			return nil, err
		}
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector).Conn(context.Background())
}

func parameter(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		if number, ok := value.(float64); ok {
			return int64(number)
		}
		return value
	}
	if text, ok := object["hex"].(string); ok {
		bytes, _ := hex.DecodeString(text)
		return bytes
	}
	return strings.Repeat(object["repeat"].(string), int(object["times"].(float64)))
}

func results(rows *sql.Rows, digest bool) (any, error) {
	defer rows.Close()
	all := []any{}
	for {
		columns, err := rows.Columns()
		if err != nil {
			return nil, err
		}
		texts := [][]string{}
		for rows.Next() {
			cells := make([]any, len(columns))
			pointers := make([]any, len(columns))
			for i := range cells {
				pointers[i] = &cells[i]
			}
			if err := rows.Scan(pointers...); err != nil {
				return nil, err
			}
			row := []string{}
			for _, cell := range cells {
				row = append(row, show(cell))
			}
			texts = append(texts, row)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		if len(columns) > 0 {
			if digest {
				all = append(all, digestOf(texts))
			} else {
				all = append(all, texts)
			}
		}
		if !rows.NextResultSet() {
			return all, rows.Err()
		}
	}
}

func digestOf(rows [][]string) any {
	var text strings.Builder
	for _, row := range rows {
		text.WriteString(strings.Join(row, "\t") + "\n")
	}
	return []any{len(rows), sum([]byte(text.String()))}
}

func sum(bytes []byte) string {
	digest := md5.Sum(bytes)
	return hex.EncodeToString(digest[:])
}

func show(value any) string {
	var bytes []byte
	switch it := value.(type) {
	case nil:
		return "NULL"
	case []byte:
		bytes = it
	case string:
		bytes = []byte(it)
	default:
		bytes = []byte(fmt.Sprint(it))
	}
	if len(bytes) > 1000 {
		return fmt.Sprintf("%d bytes, MD5 %s", len(bytes), sum(bytes))
	}
	if utf8.Valid(bytes) {
		return string(bytes)
	}
	return "0x" + hex.EncodeToString(bytes)
}
