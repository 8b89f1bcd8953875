package command

import (
	"errors"
	"fmt"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/spelling"
)

// The exit codes of the mirror commands.
const (
	exitFindings = 1 // it was done, and what it tells is not good
	exitFailure  = 2 // it could not be done
)

// mirrorCommand makes run the one of a command, which has no arguments unless it says
// so, and every error one of exit code 2.
func mirrorCommand(cmd *cobra.Command, run func(*cobra.Command) (int, error)) *cobra.Command {
	cmd.SilenceErrors = true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return exit(cmd, exitFailure, spelling.Misspelt(cmd, err)) })
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return exit(cmd, exitFailure, err)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		code, err := run(cmd)
		return exit(cmd, code, err)
	}
	return cmd
}

// exit prints an error, and returns one that ends the process with the code.
func exit(cmd *cobra.Command, code int, err error) error {
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "Error:", err)
	}
	if code == exitFindings {
		return errors.New("there are findings")
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}
