package caddymodule

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "registry-mirror",
		Usage: "[--listen <addr>] [--storage <dir>] [--default <upstream>] [--access-log] [--debug] <upstream...>",
		Short: "Spins up a pull-through mirror of container registries",
		Long: `
A pull-through mirror of the named registries, such as docker.io and ghcr.io,
without a configuration file. Useful for quick deployments, labs and trials.

It listens on :5000 without TLS, for everybody who can reach it, unless --listen
says otherwise. What was pulled is kept in the --storage folder, by default
registry_mirror in Caddy's data folder.

With --default, requests that name no registry (Docker daemons with
registry-mirrors) go to that one.

The admin API is off. For anything beyond this, write a Caddyfile with the
directive registry_mirror.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.MinimumNArgs(1)
			cmd.Flags().StringP("listen", "l", ":5000", "The address to which to bind the listener")
			cmd.Flags().StringP("storage", "s", "", "The folder to keep what was pulled")
			cmd.Flags().StringP("default", "d", "", "The upstream for requests that name none")
			cmd.Flags().BoolP("access-log", "a", false, "Enable the access log")
			cmd.Flags().BoolP("debug", "v", false, "Enable verbose debug logs")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(runRegistryMirror)
		},
	})
}

func runRegistryMirror(fs caddycmd.Flags) (int, error) {
	caddy.TrapSignals()
	if fs.NArg() == 0 {
		return caddy.ExitCodeFailedStartup, errors.New("no upstream: name at least one registry to mirror, such as docker.io")
	}
	handler := Handler{Default: fs.String("default")}
	for _, name := range fs.Args() {
		handler.Upstreams = append(handler.Upstreams, &Upstream{Name: name})
	}
	app := App{}
	if path := fs.String("storage"); path != "" {
		app.Storage = &Storage{Path: path}
	}
	server := &caddyhttp.Server{
		Listen:            []string{fs.String("listen")},
		ReadHeaderTimeout: caddy.Duration(10 * time.Second),
		IdleTimeout:       caddy.Duration(2 * time.Minute),
		MaxHeaderBytes:    16 << 10,
		AutoHTTPS:         &caddyhttp.AutoHTTPSConfig{Disabled: true},
		Routes: caddyhttp.RouteList{{HandlersRaw: []json.RawMessage{
			caddyconfig.JSONModuleObject(handler, "handler", "registry_mirror", nil),
		}}},
	}
	if fs.Bool("access-log") {
		server.Logs = &caddyhttp.ServerLogConfig{}
	}
	persist := false
	config := &caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &persist}},
		AppsRaw: caddy.ModuleMap{
			"http":            caddyconfig.JSON(caddyhttp.App{Servers: map[string]*caddyhttp.Server{"mirror": server}}, nil),
			"registry_mirror": caddyconfig.JSON(app, nil),
		},
	}
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
