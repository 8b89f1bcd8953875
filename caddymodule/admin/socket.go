package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	files, _ := flags.GetStringSlice("envfile")
	defer lendEnvironment(files)()
	_ = json.Unmarshal(configurationOfRun(flags), &config)
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

// lendEnvironment sets the variables of files that the command run is going to read, until
// the function that it returns is called. Values of several lines it does not know: no
// address is one.
func lendEnvironment(files []string) (takeBack func()) {
	var set []string
	for _, file := range files {
		raw, _ := os.ReadFile(file) // Caddy says what is wrong with it
		for line := range strings.Lines(string(raw)) {
			name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
			if _, known := os.LookupEnv(name); known || !ok || strings.HasPrefix(name, "#") {
				continue
			}
			value, _, _ = strings.Cut(value, "#")
			if os.Setenv(name, strings.Trim(strings.TrimSpace(value), `"'`)) == nil {
				set = append(set, name)
			}
		}
	}
	return func() {
		for _, name := range set {
			_ = os.Unsetenv(name)
		}
	}
}

// giveStdin makes the standard input what was read of it before.
func giveStdin(raw []byte) {
	r, w, err := os.Pipe()
	if err != nil {
		return // Caddy finds nothing there, and says so
	}
	os.Stdin = r
	go func() {
		_, _ = w.Write(raw)
		_ = w.Close()
	}()
}

// configurationOfRun reads what the command run is going to run; nil = it cannot be read
// here.
func configurationOfRun(flags caddycmd.Flags) []byte {
	if flags.Bool("resume") {
		if raw, err := os.ReadFile(caddy.ConfigAutosavePath); err == nil {
			return raw
		}
	}
	if flags.String("config") == "-" {
		if flags.String("pingback") != "" {
			return nil // there is something else first
		}
		input, err := io.ReadAll(os.Stdin)
		if err != nil {
			return nil
		}
		giveStdin(input)
		defer giveStdin(input)
	}
	raw, _ := LoadConfig(flags.String("config"), flags.String("adapter")) // Caddy says the same of it
	return raw
}

// LoadConfig reads a configuration as Caddy does, without its lines in the log: whoever
// looks for a server has not asked for them.
func LoadConfig(file, adapter string) (raw []byte, err error) {
	quietly(func() { raw, _, _, err = caddycmd.LoadConfig(file, adapter) })
	return raw, err
}

// Address returns that of the admin API: the one that is named, or that of a configuration,
// of which raw may hold what it comes to, or the usual one.
func Address(named string, raw []byte, file, adapter string) (address string, err error) {
	quietly(func() { address, err = caddycmd.DetermineAdminAPIAddress(named, raw, file, adapter) })
	return address, err
}

// quietly does something while what Caddy logs goes nowhere.
func quietly(do func()) {
	_, original, _ := caddy.BufferedLog()
	do()
	caddy.UnbufferDefaultLogger(zap.NewNop())
	caddy.BufferedLog()
	caddy.UnbufferDefaultLogger(original)
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
