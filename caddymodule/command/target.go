package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/storage"
)

// answerTime is how long a server may take to say what it has open.
const answerTime = 5 * time.Second

// lockWait is how long a server that is just ending is waited for.
const lockWait = 2 * time.Second

// target is the storage that a mirror command is about.
type target struct {
	// address is that of the admin API of the server that has the storage open;
	// empty = none has, as far as is known.
	address string
	// path is the storage; empty = all that the server has open.
	path string
	// config is the configuration in JSON, if one was named.
	config []byte
	// limits are those of the storage in it.
	limits *Storage
	// silence says why no server was asked or answered.
	silence error
}

// name is what a person calls the storage.
func (t target) name() string {
	if t.path == "" {
		return "the storage"
	}
	return t.path
}

// addTargetFlags adds the flags that newTarget reads.
func addTargetFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "The configuration that names admin API and storage")
	cmd.Flags().StringP("adapter", "a", "", "The adapter of that configuration")
	cmd.Flags().String("address", "", "The address of the server's admin API, such as localhost:2019 or unix//run/caddy.sock")
	cmd.Flags().StringP("storage", "s", "", "The folder of the storage (default: that of the configuration, or registry_mirror in Caddy's data folder)")
}

// newTarget finds out whether a server has the storage open.
func newTarget(ctx context.Context, cmd *cobra.Command) (target, error) {
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	var config struct {
		Admin caddy.AdminConfig `json:"admin"`
		Apps  struct {
			Mirror App `json:"registry_mirror"`
		} `json:"apps"`
	}
	var raw []byte
	file, adapter := flags.String("config"), flags.String("adapter")
	if file != "" {
		var err error
		if raw, _, _, err = caddycmd.LoadConfig(file, adapter); err == nil {
			err = json.Unmarshal(raw, &config)
		}
		if err != nil {
			return target{}, fmt.Errorf("configuration %s: %w", file, err)
		}
	}
	t := target{path: flags.String("storage"), config: raw, limits: config.Apps.Mirror.Storage}
	named := t.path != "" || file != ""
	if t.path == "" {
		var err error
		if t.path, err = config.Apps.Mirror.Storage.folder(); err != nil {
			return target{}, err
		}
	}
	t.path = realPath(t.path)
	if flags.String("address") == "" && config.Admin.Disabled {
		t.silence = errors.New("the configuration turns the admin API off")
		return t, nil
	}
	if socket := filepath.Join(t.path, storage.SocketFile); flags.String("address") == "" && file == "" {
		// That of a gateway without configuration.
		if open, err := openStores(ctx, "unix/"+socket); err == nil && slices.Contains(open, t.path) {
			t.address = "unix/" + socket
			return t, nil
		}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), raw, file, adapter)
	if err != nil {
		return target{}, err
	}
	open, err := openStores(ctx, address)
	switch {
	case err != nil && flags.String("address") != "":
		return target{}, fmt.Errorf("admin API at %s: %w", address, err)
	case err != nil:
		t.silence = fmt.Errorf("no admin API answers at %s", address)
	case !named && len(open) > 0:
		t.address, t.path = address, ""
	case slices.Contains(open, t.path):
		t.address = address
	default:
		t.silence = fmt.Errorf("the server at %s does not have it open", address)
	}
	return t, nil
}

// open opens the storage, and says what to do if that is not possible.
func (t target) open(ctx context.Context, o storage.Options, open func(context.Context, storage.Options) (*storage.Store, error)) (*storage.Store, error) {
	o.Path, o.LockWait = t.path, lockWait
	store, err := open(ctx, o)
	var held *storage.LockedError
	switch {
	case errors.As(err, &held):
		holder := "another process"
		if held.PID > 0 {
			holder = "process " + strconv.Itoa(held.PID)
		}
		return nil, fmt.Errorf("%s is in use by %s, and %w: name the admin API of that server with --address or --config, or stop it first",
			t.path, holder, t.silence)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no storage at %s: name its folder with --storage or --config", t.path)
	}
	return store, err
}

// openStores asks a server which stores it has open.
func openStores(ctx context.Context, address string) (paths []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	response, err := askAdmin(ctx, address, http.MethodGet, "/registry_mirror/", nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Storage []cacheStatus `json:"storage"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	for _, s := range answer.Storage {
		paths = append(paths, s.Path)
	}
	return paths, nil
}

// askAdmin makes one request to an admin API, with the body if it is not nil. The
// body of the answer ends with ctx.
func askAdmin(ctx context.Context, address, method, uri string, body io.Reader) (*http.Response, error) {
	type answer struct {
		response *http.Response
		err      error
	}
	answered := make(chan answer, 1)
	go func() {
		response, err := caddycmd.AdminAPIRequest(address, method, uri, nil, body) //nolint:bodyclose // whoever gets it does
		answered <- answer{response, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil {
			return nil, a.err
		}
		context.AfterFunc(ctx, func() { a.response.Body.Close() })
		return a.response, nil
	case <-ctx.Done():
		go func() {
			if a := <-answered; a.err == nil {
				a.response.Body.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// realPath returns the path by which an open store is known, or would be.
func realPath(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if followed, err := filepath.EvalSymlinks(path); err == nil {
		path = followed
	}
	return path
}
