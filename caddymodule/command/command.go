// Package command is the command "pullgate mirror": one file for each verb, which asks
// the gateway that a server is, or, if none has the storage open, opens that itself.
package command

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/caddymodule/admin"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/spelling"
	"github.com/pullgate/pullgate/storage"
)

// Configuration is what commands have to know of a configuration. The Caddy modules,
// which know, import this package.
type Configuration interface {
	// Folder returns the absolute path of the store.
	Folder() (string, error)
	// Limits returns those of the store, without those of upstreams.
	Limits() (storage.Limits, error)
	// Sites returns its handlers, whose upstreams are not looked up.
	Sites() (operate.Sites, error)
}

// reader reads a configuration in JSON; of nil, it has the defaults.
type reader func(raw []byte) (Configuration, error)

// Register registers the commands.
func Register(read func(raw []byte) (Configuration, error)) {
	r := reader(read)
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "mirror",
		Usage: "<command>",
		Short: "Commands for gateways and their clients",
		Long: `
Commands for gateways and their clients. Those that need a running server find
it by the admin API: at --address, at the address that the --config file names,
or at the default one. Those about the storage open it themselves if no server
has it open, and say which it was.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(r.commands()...)
			spelling.Suggest(cmd)
			admin.GuardRun(cmd)
		},
	})
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "registry-mirror",
		Usage:     serveUsage,
		Short:     serveShort,
		Long:      "\nThis is \"mirror serve\" under its other name: \"pullgate mirror serve --help\" tells about it.",
		CobraFunc: r.addServe,
	})
}

func (r reader) commands() []*cobra.Command {
	return []*cobra.Command{
		clientConfigCommand(), r.exportCommand(), r.fsckCommand(), r.importCommand(), r.preloadCommand(), r.verifyCommand(),
		r.listCommand(), r.usageCommand(), r.removeCommand(), r.pinCommand(), r.unpinCommand(), r.pinListCommand(),
		r.serveCommand(), r.statusCommand(), syncCommand(r), r.checkCommand(), memory{r}.whyCommand(), memory{r}.topCommand(), healthCommand(),
	}
}
