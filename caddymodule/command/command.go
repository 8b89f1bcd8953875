package caddymodule

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
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
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(clientConfigCommand(), exportCommand(), fsckCommand(), importCommand(), preloadCommand(), verifyCommand())
			cmd.AddCommand(listCommand(), usageCommand(), removeCommand(), pinCommand(), unpinCommand(), pinListCommand())
			cmd.AddCommand(serveCommand(), statusCommand())
		},
	})
}
