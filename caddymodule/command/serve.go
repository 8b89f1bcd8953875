package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/pullgate/pullgate/caddymodule/admin"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/spelling"
	"github.com/pullgate/pullgate/storage"
)

const (
	serveUsage = "[--listen <addr>] [--storage <dir>] [--offline] [--default <upstream>] [--max-size <size>] [--admin <addr>] [--dashboard <addr>] [--metrics <addr>] [--access-log] [--debug] <upstream...>"
	serveShort = "Spins up a pull-through mirror of container registries"
	serveLong  = `
A pull-through mirror of the named registries, such as docker.io and ghcr.io,
without a configuration file.

It listens on :5000 without TLS, for everybody who can reach it, unless --listen
says otherwise. What was pulled is kept in the --storage folder, by default
registry_mirror in Caddy's data folder; with --max-size, the least recently used
goes to stay below it.

With --offline, no registry is ever asked: what is not in the cache is answered
with 404, and the error says so. "mirror preload" and "mirror import" fill it.

What a gateway with a Caddyfile pulled by the options url, credentials or tls_client
is not served by the name of the upstream alone, since it need not be for everybody.
The log tells under which identity the storage has it; --offline and that in place of
the name (docker.io#1f0c5d2a9b7e) serve it, to everybody who can reach the gateway.

With --default, requests that name no registry (Docker daemons with
registry-mirrors) go to that one.

The admin API listens on a socket in the storage folder, admin.sock, that only the
user of the server may use; the other mirror commands find it there, given the same
--storage. --admin names another address, or is off.

With --dashboard, there is a web page that shows how it fares, at an address of its
own: of this machine only, and with everything, unless that names a host. With
--metrics, Prometheus finds the metrics at an address of their own.

Probes find out at /healthz whether the process serves, and at /readyz whether pulls
are answered; "mirror health" asks there.

For anything beyond this, write a Caddyfile with the directive registry_mirror.`
	// serveGrace is how long answers go on when the server is stopped. Init systems kill
	// what takes long, some after 10 s.
	serveGrace = 5 * time.Second
	// maxSocketPath is the longest path of a socket that every system takes.
	maxSocketPath = 103
)

func (r reader) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve " + serveUsage, Short: serveShort, Long: serveLong,
		Example: `  pullgate mirror serve docker.io ghcr.io
  pullgate mirror serve --listen 127.0.0.1:5000 --storage /var/lib/pullgate --max-size 200GiB docker.io registry.k8s.io
  pullgate mirror serve --offline --storage /mnt/usb/pullgate docker.io
  pullgate mirror serve --offline --storage /mnt/usb/pullgate docker.io#1f0c5d2a9b7e`,
	}
	r.addServe(cmd)
	return cmd
}

func (r reader) addServe(cmd *cobra.Command) {
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("no upstream: name at least one registry to mirror, such as: pullgate mirror serve docker.io ghcr.io")
		}
		return nil
	}
	cmd.Flags().StringP("listen", "l", ":5000", "The address to which to bind the listener")
	cmd.Flags().StringP("storage", "s", "", "The folder to keep what was pulled")
	cmd.Flags().Bool("offline", false, "Answer from the cache only")
	cmd.Flags().StringP("default", "d", "", "The upstream for requests that name none")
	cmd.Flags().String("max-size", "", "The most that blobs may take, such as 200GiB (default: what the disk has)")
	cmd.Flags().String("admin", "", "The address of the admin API, or off (default: admin.sock in the storage folder)")
	cmd.Flags().String("dashboard", "", "The address of the dashboard, such as :5001 (default: there is none)")
	cmd.Flags().String("metrics", "", "The address of the metrics for Prometheus, such as :9100 (default: the admin API has them)")
	cmd.Flags().Bool("access-log", false, "Enable the access log")
	cmd.Flags().BoolP("debug", "v", false, "Enable verbose debug logs")
	cmd.SetFlagErrorFunc(spelling.Misspelt)
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(r.serve)
}

func (r reader) serve(fs caddycmd.Flags) (int, error) {
	caddy.TrapSignals()
	err := errors.Join(checkAddress("--listen", fs.String("listen"), "", "5000"), checkAddress("--admin", fs.String("admin"), "localhost", "2019"),
		checkAddress("--dashboard", fs.String("dashboard"), "", "5001"), checkAddress("--metrics", fs.String("metrics"), "", "9100"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	site := handler{Handler: "registry_mirror", Default: fs.String("default")}
	for _, name := range fs.Args() {
		u := upstream{Name: oci.UpstreamName(name), Offline: fs.Bool("offline")}
		if u.Name != name {
			if !u.Offline {
				return caddy.ExitCodeFailedStartup, fmt.Errorf("%s: what is stored under an identity is served with --offline only", name)
			}
			// Whoever names it has decided who gets it.
			u.StoredAs, u.Access = name, &access{Public: true}
		}
		site.Upstreams = append(site.Upstreams, u)
	}
	app := app{Storage: store{Path: fs.String("storage")}}
	if text := fs.String("max-size"); text != "" {
		var err error
		if app.Storage.MaxSize, err = operate.ParseSize(text); err != nil {
			return caddy.ExitCodeFailedStartup, fmt.Errorf("--max-size: %w", err)
		}
	}
	apps := caddy.ModuleMap{"registry_mirror": caddyconfig.JSON(app, nil)}
	admin, err := r.serveAdmin(fs.String("admin"), apps)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	server := plainServer(fs.String("listen"), caddyhttp.Route{HandlersRaw: []json.RawMessage{
		caddyconfig.JSON(handler{Handler: "registry_mirror_health"}, nil), caddyconfig.JSON(site, nil),
	}})
	if fs.Bool("access-log") {
		server.Logs = &caddyhttp.ServerLogConfig{}
	}
	servers := map[string]*caddyhttp.Server{"mirror": server}
	if address := fs.String("dashboard"); address != "" {
		servers["dashboard"] = dashboardServer(address)
	}
	if address := fs.String("metrics"); address != "" {
		servers["metrics"] = plainServer(address, caddyhttp.Route{HandlersRaw: []json.RawMessage{caddyconfig.JSON(handler{Handler: "metrics"}, nil)}})
	}
	apps["http"] = caddyconfig.JSON(caddyhttp.App{GracePeriod: caddy.Duration(serveGrace), Servers: servers}, nil)
	config := &caddy.Config{Admin: admin, AppsRaw: apps}
	if fs.Bool("debug") {
		config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			"default": {BaseLog: caddy.BaseLog{Level: zap.DebugLevel.CapitalString()}},
		}}
	}
	if err := caddy.Run(config); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	select {}
}

// serveAdmin returns the configuration of the admin API at an address; empty = on the
// socket in the storage folder, which the apps tell.
func (r reader) serveAdmin(address string, apps caddy.ModuleMap) (*caddy.AdminConfig, error) {
	persist := false
	config := &caddy.AdminConfig{Listen: address, Config: &caddy.ConfigSettings{Persist: &persist}}
	switch address {
	case "off":
		config.Listen, config.Disabled = "", true
		return config, nil
	case "":
	default:
		return config, nil
	}
	read, err := r(caddyconfig.JSON(caddy.Config{AppsRaw: apps}, nil))
	if err != nil {
		return nil, err
	}
	folder, err := read.Folder()
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	folder = operate.RealPath(folder)
	socket := filepath.Join(folder, storage.SocketFile)
	if len(socket) > maxSocketPath {
		caddy.Log().Warn("the admin API is off: the path of the storage folder is too long for a socket in it, name another address with --admin")
		config.Disabled = true
		return config, nil
	}
	// Caddy would take the socket away from the server that has it.
	if err := admin.CheckFree(context.Background(), "unix/"+socket); err != nil {
		return nil, fmt.Errorf("a server is running with this storage already: %w", err)
	}
	config.Listen = "unix/" + socket + "|0600"
	return config, nil
}

// What commands write of a configuration; the Caddy modules document the fields.
type (
	handler struct {
		Handler   string     `json:"handler"`
		Upstreams []upstream `json:"upstreams,omitempty"`
		Default   string     `json:"default,omitempty"`
		ShowAll   bool       `json:"show_all,omitempty"` // of a dashboard
	}
	upstream struct {
		Name     string  `json:"name"`
		Access   *access `json:"access,omitempty"`
		Offline  bool    `json:"offline,omitempty"`
		StoredAs string  `json:"stored_as,omitempty"`
	}
	access struct {
		Public bool `json:"public"`
	}
	app struct {
		Storage store `json:"storage"`
	}
	store struct {
		Path    string `json:"path,omitempty"`
		MaxSize int64  `json:"max_size,omitempty"`
	}
)
