package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

// target is the storage that a command is about.
type target struct {
	// address is that of the admin API of the server that has the storage open;
	// empty = none has, as far as is known.
	address string
	// path is the storage; empty = all that the server has open.
	path string
	// config is the configuration that was named, or the defaults.
	config Configuration
	// configured says that one was named.
	configured bool
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

// find finds out whether a server has the storage open.
func (r *run) find() error {
	file, adapter, named := r.flags.String("config"), r.flags.String("adapter"), r.flags.String("address")
	var raw []byte
	var admin struct {
		Admin struct {
			Disabled bool `json:"disabled"`
		} `json:"admin"`
	}
	var err error
	if file != "" {
		if raw, _, _, err = caddycmd.LoadConfig(file, adapter); err == nil {
			err = json.Unmarshal(raw, &admin)
		}
	}
	if err == nil {
		r.config, err = r.read(raw)
	}
	if err != nil {
		return fmt.Errorf("configuration %s: %w", file, err)
	}
	r.path, r.configured = r.flags.String("storage"), file != ""
	chosen := r.path != "" || r.configured
	if r.path == "" {
		if r.path, err = r.config.Folder(); err != nil {
			return err
		}
	}
	r.path = operate.RealPath(r.path)
	if named == "" && admin.Admin.Disabled {
		r.silence = errors.New("the configuration turns the admin API off")
		return nil
	}
	if socket := filepath.Join(r.path, storage.SocketFile); named == "" && file == "" {
		// That of a gateway without configuration.
		if open, err := openStores(r.ctx, "unix/"+socket); err == nil && slices.Contains(open, r.path) {
			r.address = "unix/" + socket
			return nil
		}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(named, raw, file, adapter)
	if err != nil {
		return err
	}
	open, err := openStores(r.ctx, address)
	switch {
	case err != nil && named != "":
		return err
	case err != nil:
		r.silence = fmt.Errorf("no admin API answers at %s", address)
	case !chosen && len(open) > 0:
		r.address, r.path = address, ""
	case slices.Contains(open, r.path):
		r.address = address
	default:
		r.silence = fmt.Errorf("the server at %s does not have it open", address)
	}
	return nil
}

// openStores asks a server which stores it has open.
func openStores(ctx context.Context, address string) (paths []string, err error) {
	client := operate.Client{Address: address, Ask: asking(address)} //nolint:bodyclose // the client closes what it asks for
	status, err := client.Status(ctx, "")
	for _, s := range status.Storage {
		paths = append(paths, s.Path)
	}
	return paths, err
}

// asking returns what makes requests to an admin API, as operate.Client wants it.
func asking(address string) func(ctx context.Context, method, uri string, body io.Reader) (*http.Response, error) {
	return func(ctx context.Context, method, uri string, body io.Reader) (*http.Response, error) {
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
}
