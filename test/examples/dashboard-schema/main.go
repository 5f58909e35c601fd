// Reads a dashboard with Grafana's own types, which refuse unknown and missing fields of it, its panels and its queries.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile(os.Args[1])
	exitOn(err)
	var found dashboard.Dashboard
	exitOn(found.UnmarshalJSONStrict(text))
	exitOn(found.Validate())
	fmt.Printf("%s: %d panels, no problem\n", os.Args[1], len(found.Panels))
}

func exitOn(err error) {
	// Some lists of errors are empty.
	if err != nil && err.Error() != "" {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
