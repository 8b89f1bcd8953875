package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/clientconfig"
)

// clientConfig is the command "mirror client-config".
type clientConfig struct {
	endpoint, username, passwordFile, authority string
	out, address, config, adapter               string
	force                                       bool

	options clientconfig.Options
	// remarks are for the user, not for the files.
	remarks []string
}

func clientConfigCommand() *cobra.Command {
	var c clientConfig
	clients := clientconfig.Clients()
	names := make([]string, len(clients))
	for n, client := range clients {
		names[n] = client.Name
	}
	cmd := mirrorCommand(&cobra.Command{
		Use:   "client-config <client> [<upstream>...]",
		Short: "Prints the files that make a client pull through the gateway",
		Long: `
Prints the files that make a client pull through the gateway:

	talos       a patch of documents for talosctl, one for each registry
	containerd  a hosts.toml for each registry, for /etc/containerd/certs.d
	k3s         registries.yaml, for /etc/rancher/k3s (RKE2: /etc/rancher/rke2)
	docker      daemon.json, for /etc/docker
	podman      a drop-in of registries.conf, for /etc/containers; skopeo, Buildah
	crio        the same for CRI-O, for /etc
	buildkit    buildkitd.toml, for /etc/buildkit

What is not given is asked of the running server: the address of the gateway,
its upstreams and, where Caddy's own authority signs its certificate, that.
Without a running server, name all of them.

Several files come one after the other, each under a line with its path. With
--out they are written below a folder instead; if one exists and holds something
else, none is written, unless --force replaces it. A file with a password is
readable for its owner only. What remains to be done goes to standard error.

The exit code is 0 if the files are there, and 2 if they could not be made.`,
		Example: `  pullgate mirror client-config talos --endpoint https://mirror.example.com > mirror.yaml
  pullgate mirror client-config containerd --endpoint http://gate:5000 --out /etc/containerd/certs.d docker.io ghcr.io
  pullgate mirror client-config k3s --user talos --password-file - --ca root.crt --skip-fallback`,
		ValidArgs: names,
	}, nil)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return exit(cmd, exitFailure, fmt.Errorf("name the client that the files are for: %s", strings.Join(names, ", ")))
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.run(cmd, args[0], args[1:]); err != nil {
			return exit(cmd, exitFailure, err)
		}
		return nil
	}
	f := cmd.Flags()
	f.StringVarP(&c.endpoint, "endpoint", "e", "", "Where clients reach the gateway, such as https://mirror.example.com")
	f.StringVarP(&c.username, "user", "u", "", "The user that clients log in as")
	f.StringVar(&c.passwordFile, "password-file", "", "File with the user's password, - for standard input")
	f.StringVar(&c.authority, "ca", "", "File with the authority (PEM) that signed the gateway's certificate")
	f.BoolVar(&c.options.SkipFallback, "skip-fallback", false, "Never go around the gateway")
	f.BoolVar(&c.options.ByNamespace, "ns", false, "One address for all registries, told apart by the parameter ns")
	f.BoolVar(&c.options.MachineConfig, "machine-config", false, "Talos before 1.12: a patch of the machine configuration")
	f.StringVarP(&c.out, "out", "o", "", "Write the files below this folder")
	f.BoolVar(&c.force, "force", false, "With --out, replace files that hold something else")
	f.StringVar(&c.address, "address", "", "The address of the running server's admin API, if it is not in the configuration")
	f.StringVarP(&c.config, "config", "c", "", "Configuration file, to find the admin API's address")
	f.StringVarP(&c.adapter, "adapter", "a", "", "Name of config adapter to apply (when --config is used)")
	return cmd
}

func (c *clientConfig) run(cmd *cobra.Command, name string, upstreams []string) error {
	clients := clientconfig.Clients()
	at := slices.IndexFunc(clients, func(client clientconfig.Client) bool { return client.Name == name })
	if at < 0 {
		return fmt.Errorf("unknown client %q: want one of %s", name, strings.Join(cmd.ValidArgs, ", "))
	}
	c.options.Upstreams = upstreams
	if err := c.read(cmd.InOrStdin()); err != nil {
		return err
	}
	if err := c.discover(cmd.Context()); err != nil {
		return err
	}
	files, err := clients[at].Files(c.options)
	if err != nil {
		return err
	}
	if c.out != "" {
		err = writeFiles(cmd.OutOrStdout(), c.out, files, c.force)
	} else {
		err = printFiles(cmd.OutOrStdout(), files)
	}
	if err != nil {
		return err
	}
	for _, remark := range append(c.remarks, clients[at].Steps(c.options)...) {
		fmt.Fprintln(cmd.ErrOrStderr(), "Note:", remark)
	}
	return nil
}

// read reads what the flags name.
func (c *clientConfig) read(stdin io.Reader) (err error) {
	if c.endpoint != "" {
		if !strings.Contains(c.endpoint, "://") {
			return fmt.Errorf("endpoint %s: begin it with http:// or https://", c.endpoint)
		}
		if c.options.Endpoint, err = url.Parse(c.endpoint); err != nil {
			return fmt.Errorf("endpoint: %w", err)
		}
	}
	if c.authority != "" {
		if c.options.Authority, err = os.ReadFile(c.authority); err != nil {
			return fmt.Errorf("certificate authority: %w", err)
		}
	}
	if (c.username == "") != (c.passwordFile == "") {
		return errors.New("--user and --password-file go together: a password on the command line would be seen by others")
	}
	if c.username == "" {
		return nil
	}
	c.options.Username = c.username
	var raw []byte
	if c.passwordFile == "-" {
		raw, err = io.ReadAll(io.LimitReader(stdin, 1<<16))
	} else {
		raw, err = os.ReadFile(c.passwordFile)
	}
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	c.options.Password = strings.TrimRight(string(raw), "\r\n")
	if c.options.Password == "" {
		return fmt.Errorf("password: %s is empty", c.passwordFile)
	}
	return nil
}
