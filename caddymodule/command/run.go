package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/caddymodule/admin"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

// lockWait is how long a server that is just ending is waited for.
const lockWait = 2 * time.Second

// run is one run of a command on a gateway.
type run struct {
	target

	cmd   *cobra.Command
	flags caddycmd.Flags
	args  []string
	ctx   context.Context    // ends when the command is interrupted
	out   *terminal.Progress // for everything but the result
	json  bool               // how the result is printed
	read  reader
	sites operate.Sites // of the configuration
}

// gatewayCommand makes a command of what runs on a gateway.
func (r reader) gatewayCommand(cmd *cobra.Command, verb func(*run) (int, error)) *cobra.Command {
	addGatewayFlags(cmd)
	return mirrorCommand(cmd, func(cmd *cobra.Command) (int, error) {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		flags := caddycmd.Flags{FlagSet: cmd.Flags()}
		run := &run{
			cmd: cmd, flags: flags, args: flags.Args(), ctx: ctx, read: r,
			out: terminal.NewProgress(cmd.ErrOrStderr()), json: flags.Bool("json"),
		}
		defer run.out.End()
		return verb(run)
	})
}

// readSites reads the handlers of the configuration.
func (r *run) readSites() (err error) {
	r.sites, err = r.config.Sites()
	return err
}

// gateway returns the server that has the storage open, or, with the options, opens it
// as the gateway of this process. It says what is being done: online is said of a
// server, if it is not empty. done ends what was begun.
func (r *run) gateway(doing, online string, o storage.Options) (g operate.Gateway, done func() error, err error) {
	if r.address != "" {
		if online != "" {
			r.out.Say(doing+online, r.name(), r.address)
		}
		return admin.Client(r.address), func() error { return nil }, nil
	}
	r.out.Say(doing+", as no server has it open (%v).", r.path, r.silence)
	store, err := r.openStorage(o, storage.Open)
	if err != nil {
		return nil, nil, err
	}
	return r.local(store)
}

// local returns the gateway of this process.
func (r *run) local(store *storage.Store) (g operate.Gateway, done func() error, err error) {
	c := mirror.NewCache(mirror.CacheOptions{Records: store, Blobs: mirror.BlobsOf(store)})
	return operate.Command(&operate.Store{Store: store, Path: r.path, Mirror: c}, r.sites), func() error {
		c.Close()
		return store.Close()
	}, nil
}

// openStorage opens the storage, and says what to do if that is not possible.
func (r *run) openStorage(o storage.Options, open func(context.Context, storage.Options) (*storage.Store, error)) (*storage.Store, error) {
	o.Path, o.LockWait = cmp.Or(o.Path, r.path), lockWait
	store, err := open(r.ctx, o)
	if held, ok := errors.AsType[*storage.LockedError](err); ok {
		holder := "another process"
		if held.PID > 0 {
			holder = "process " + strconv.Itoa(held.PID)
		}
		return nil, fmt.Errorf("%s is in use by %s, and %w: name the admin API of that server with --address or --config, or stop it first",
			r.path, holder, r.silence)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no storage at %s: name its folder with --storage or --config", r.path)
	}
	return store, err
}

// printJSON prints a result.
func (r *run) printJSON(v any) error {
	encoder := json.NewEncoder(r.cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
