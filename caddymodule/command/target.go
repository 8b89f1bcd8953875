package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/pullgate/pullgate/caddymodule/admin"
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
	// configured says that one was named, and chosen that it or the storage was.
	configured, chosen bool
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
	if err := checkAddress("--address", named, "localhost", "2019"); err != nil {
		return err
	}
	var raw []byte
	var settings struct {
		Admin struct {
			Disabled bool `json:"disabled"`
		} `json:"admin"`
	}
	var err error
	if file != "" {
		if raw, err = admin.LoadConfig(file, adapter); err == nil {
			err = json.Unmarshal(raw, &settings)
		}
	}
	if err == nil {
		r.config, err = r.read(raw)
	}
	if err != nil {
		return fmt.Errorf("configuration %s: %w", file, err)
	}
	r.path, r.configured = r.flags.String("storage"), file != ""
	r.chosen = r.path != "" || r.configured
	if r.path == "" {
		if r.path, err = r.config.Folder(); err != nil {
			return err
		}
	}
	r.path = operate.RealPath(r.path)
	if named == "" && settings.Admin.Disabled {
		r.silence = errors.New("the configuration turns the admin API off")
		return nil
	}
	if socket := filepath.Join(r.path, storage.SocketFile); named == "" && file == "" {
		// That of a gateway without configuration.
		switch open, err := admin.OpenStores(r.ctx, "unix/"+socket); {
		case errors.Is(err, fs.ErrPermission):
			return err
		case err == nil && slices.Contains(open, r.path):
			r.address = "unix/" + socket
			return nil
		}
	}
	address, err := admin.Address(named, raw, file, adapter)
	if err != nil {
		return err
	}
	open, err := admin.OpenStores(r.ctx, address)
	switch {
	case err != nil && (named != "" || errors.Is(err, fs.ErrPermission)):
		return admin.Explain(r.ctx, address, err)
	case err != nil:
		r.silence = fmt.Errorf("no admin API answers at %s", address)
	case !r.chosen && len(open) > 0:
		r.address, r.path = address, ""
	case slices.Contains(open, r.path):
		r.address = address
	default:
		r.silence = fmt.Errorf("the server at %s does not have it open", address)
	}
	return nil
}
