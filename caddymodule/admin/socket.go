package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

// GuardRun makes Caddy's command run leave its socket to a server that has it. Caddy
// opens the admin API before any module can refuse the configuration, and removes the
// file of a socket that it does not know. mirror is a sister of run once commands run.
func GuardRun(mirror *cobra.Command) {
	cobra.OnInitialize(func() {
		for _, cmd := range mirror.Root().Commands() {
			if cmd.Name() == "run" {
				cmd.PreRunE = checkAdminSocket
			}
		}
	})
}

// checkAdminSocket refuses a configuration whose admin API another server answers. What is
// wrong with the configuration itself, Caddy says.
func checkAdminSocket(cmd *cobra.Command, _ []string) error {
	var config struct {
		Admin caddy.AdminConfig `json:"admin"`
	}
	_ = json.Unmarshal(configurationOfRun(caddycmd.Flags{FlagSet: cmd.Flags()}), &config)
	if config.Admin.Disabled {
		return nil
	}
	return CheckFree(cmd.Context(), caddy.NewReplacer().ReplaceAll(cmp.Or(config.Admin.Listen, caddy.DefaultAdminListen), ""))
}

// CheckFree refuses the address of a socket that a server has, as far as can be told. Nobody
// has what a killed server has left.
func CheckFree(ctx context.Context, address string) error {
	conn, err := dialSocket(ctx, address)
	switch {
	case conn != nil:
		_ = conn.Close()
	case errors.Is(err, syscall.EAGAIN): // more clients wait than it takes
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("admin %s: %w: another user has this socket: choose another address, or remove the file if no server has it", address, fs.ErrPermission)
	default:
		return nil
	}
	return fmt.Errorf("admin %s: a server answers there already, and would lose its socket: stop that one, or choose another address", address)
}

// configurationOfRun reads what the command run is going to run; nil = it cannot be read
// here, or only once.
func configurationOfRun(flags caddycmd.Flags) []byte {
	if flags.Bool("resume") {
		if raw, err := os.ReadFile(caddy.ConfigAutosavePath); err == nil {
			return raw
		}
	}
	if flags.String("config") == "-" {
		return nil
	}
	// Caddy reads it again, and says the same of it.
	_, original, _ := caddy.BufferedLog()
	raw, _, _, err := caddycmd.LoadConfig(flags.String("config"), flags.String("adapter"))
	caddy.UnbufferDefaultLogger(zap.NewNop())
	caddy.BufferedLog()
	caddy.UnbufferDefaultLogger(original)
	if err != nil {
		return nil
	}
	return raw
}

// dialSocket connects to the socket at an address of Caddy's form. Both results are nil
// if it is no socket.
func dialSocket(ctx context.Context, address string) (net.Conn, error) {
	at, err := caddy.ParseNetworkAddress(address)
	if err != nil || !at.IsUnixNetwork() {
		return nil, nil //nolint:nilerr // what is wrong with it others say
	}
	path, _, _ := strings.Cut(at.Host, "|")
	return new(net.Dialer).DialContext(ctx, at.Network, path)
}
