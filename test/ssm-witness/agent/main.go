// The SSM agent's own code for one port session: its data channel, its handshake, its port plugin. It is compiled inside a
// checkout of https://github.com/aws/amazon-ssm-agent. The rest of the agent, which registers and waits for orders, is not
// needed: the stand-in of the service starts this program for each session.
//
// Usage: agent https://SERVICE_HOST:PORT SESSION_ID CLIENT_ID HOST PORT
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/aws/amazon-ssm-agent/agent/appconfig"
	"github.com/aws/amazon-ssm-agent/agent/context"
	"github.com/aws/amazon-ssm-agent/agent/contracts"
	"github.com/aws/amazon-ssm-agent/agent/framework/processor/executer/iohandler"
	"github.com/aws/amazon-ssm-agent/agent/log"
	"github.com/aws/amazon-ssm-agent/agent/session/plugins/port"
	"github.com/aws/amazon-ssm-agent/agent/session/plugins/sessionplugin"
	"github.com/aws/amazon-ssm-agent/agent/task"
	"github.com/aws/amazon-ssm-agent/agent/version"
	"github.com/aws/aws-sdk-go/aws/credentials"
)

const instance = "i-0123456789abcdef0"

type identity struct{}

func (identity) InstanceID() (string, error)         { return instance, nil }
func (identity) ShortInstanceID() (string, error)    { return instance, nil }
func (identity) Region() (string, error)             { return "eu-west-1", nil }
func (identity) AvailabilityZone() (string, error)   { return "eu-west-1a", nil }
func (identity) AvailabilityZoneId() (string, error) { return "euw1-az1", nil }
func (identity) InstanceType() (string, error)       { return "t4g.nano", nil }
func (identity) IdentityType() string                { return "EC2" }
func (identity) GetServiceEndpoint(string) string    { return "" }
func (identity) Credentials() *credentials.Credentials {
	return credentials.NewStaticCredentials("AKIDOFTHEAGENT", "secret", "")
}

// Lines on stderr.
type logger struct{ to io.Writer }

func (l logger) print(level string, v ...interface{}) error {
	text := fmt.Sprint(v...)
	fmt.Fprintf(l.to, "%s %s\n", level, text)
	return fmt.Errorf("%s", text)
}
func (l logger) Tracef(string, ...interface{})          {}
func (l logger) Debugf(f string, v ...interface{})      { l.print("debug", fmt.Sprintf(f, v...)) }
func (l logger) Infof(f string, v ...interface{})       { l.print("info", fmt.Sprintf(f, v...)) }
func (l logger) Warnf(f string, v ...interface{}) error { return l.print("warn", fmt.Sprintf(f, v...)) }
func (l logger) Errorf(f string, v ...interface{}) error {
	return l.print("error", fmt.Sprintf(f, v...))
}
func (l logger) Criticalf(f string, v ...interface{}) error {
	return l.print("critical", fmt.Sprintf(f, v...))
}
func (l logger) Trace(...interface{})              {}
func (l logger) Debug(v ...interface{})            { l.print("debug", v...) }
func (l logger) Info(v ...interface{})             { l.print("info", v...) }
func (l logger) Warn(v ...interface{}) error       { return l.print("warn", v...) }
func (l logger) Error(v ...interface{}) error      { return l.print("error", v...) }
func (l logger) Critical(v ...interface{}) error   { return l.print("critical", v...) }
func (l logger) Flush()                            {}
func (l logger) Close()                            {}
func (l logger) Closed() bool                      { return false }
func (l logger) Log(v ...interface{})              { l.print("log", v...) }
func (l logger) WithContext(...string) log.T       { return l }
func (l logger) WriteEvent(string, string, string) {}

func main() {
	if len(os.Args) != 6 {
		fmt.Println(version.Version)
		return
	}
	config := appconfig.DefaultConfig()
	config.Mgs.Endpoint = os.Args[1]
	config.Mgs.Region = "eu-west-1"
	ctx := context.Default(logger{os.Stderr}, config, identity{})
	plugin, err := sessionplugin.NewPlugin(ctx, port.NewPlugin)
	if err != nil {
		panic(err)
	}
	output := iohandler.NewDefaultIOHandler(ctx, contracts.IOConfiguration{})
	plugin.Execute(contracts.Configuration{
		PluginName: appconfig.PluginNamePort,
		SessionId:  os.Args[2],
		ClientId:   os.Args[3],
		Properties: map[string]interface{}{
			"host": os.Args[4], "portNumber": os.Args[5], "localPortNumber": "0", "type": "LocalPortForwarding",
		},
	}, task.NewChanneledCancelFlag(), output)
	fmt.Fprintf(os.Stderr, "the session has ended: %s, exit code %d\n", output.GetStatus(), output.GetExitCode())
}
