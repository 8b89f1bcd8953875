package command

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/clientconfig"
	"github.com/pullgate/pullgate/internal/nearest"
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
	names, list := clientList()
	cmd := mirrorCommand(&cobra.Command{
		Use:   "client-config <client> [<upstream>[=<name>]...]",
		Short: "Prints the files that make a client pull through the gateway",
		Long: `
Prints the files that make a client pull through the gateway:

` + list + `
Upstreams are named as images name them, such as docker.io or harbor.corp:8443.
Where the gateway has another name for one, an alias or that of an upstream with
a url, that follows: harbor.corp:8443=harbor. Podman, CRI-O and direct references
need one without a port, as a colon begins the tag there.

What is not given is asked of the running server: the address of the gateway,
its upstreams and, where Caddy's own authority signs its certificate, that.
Without a running server, name all of them. With one, what it does not mirror is
told.

Several files come one after the other, each under a line with its path. With
--out they are written below a folder instead; if one exists and holds something
else, none is written, unless --force replaces it. A file with a password is
readable for its owner only. What remains to be done goes to standard error.

The exit code is 0 if the files are there, and 2 if they could not be made.`,
		Example: `  pullgate mirror client-config talos --endpoint https://mirror.example.com > mirror.yaml
  pullgate mirror client-config containerd --endpoint http://gate:5000 --out /etc/containerd/certs.d docker.io ghcr.io
  pullgate mirror client-config k3s --user talos --password-file - --ca root.crt --skip-fallback
  pullgate mirror client-config podman --endpoint http://gate:5000 docker.io harbor.corp:8443=harbor`,
		ValidArgsFunction: completeClients,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("name the client that the files are for: %s", strings.Join(names, ", "))
			}
			return nil
		},
	}, func(cmd *cobra.Command) (int, error) {
		flags := caddycmd.Flags{FlagSet: cmd.Flags()}
		c.address, c.config, c.adapter = flags.String("address"), flags.String("config"), flags.String("adapter")
		args := flags.Args()
		if err := c.run(cmd, args[0], args[1:]); err != nil {
			return exitFailure, err
		}
		return 0, nil
	})
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
	addServerFlags(cmd)
	_ = cmd.MarkFlagDirname("out") // fails for a flag that is not there
	return cmd
}

// clientList returns the names of all clients, and what is made for each as
// lines of help.
func clientList() (names []string, help string) {
	var b strings.Builder
	for _, client := range clientconfig.Clients() {
		names = append(names, client.Name)
		fmt.Fprintf(&b, "\t%-11s %s", client.Name, client.Summary)
		if client.Directory != "" {
			b.WriteString(", for " + client.Directory)
		}
		b.WriteByte('\n')
	}
	return names, b.String()
}

// completeClients completes the client. What the gateway mirrors comes after it,
// and is no file.
func completeClients(_ *cobra.Command, args []string, _ string) (words []cobra.Completion, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		for _, client := range clientconfig.Clients() {
			words = append(words, cobra.CompletionWithDesc(client.Name, client.Summary))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func (c *clientConfig) run(cmd *cobra.Command, name string, upstreams []string) error {
	client, ok := clientconfig.Find(name)
	if !ok {
		names, _ := clientList()
		hint := ""
		if near := nearest.Name(name, names); near != "" {
			hint = "did you mean " + near + "? "
		}
		return fmt.Errorf("unknown client %q: %swant one of %s", name, hint, strings.Join(names, ", "))
	}
	for _, upstream := range upstreams {
		host, at, renamed := strings.Cut(upstream, "=")
		if renamed && at == "" {
			return fmt.Errorf("upstream %s: want the gateway's name for it after =", upstream)
		}
		c.options.Upstreams = append(c.options.Upstreams, host)
		c.rename(host, at)
	}
	if err := c.read(cmd.InOrStdin()); err != nil {
		return err
	}
	if err := c.discover(cmd.Context()); err != nil {
		return err
	}
	files, err := client.Files(c.options)
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
	for _, remark := range append(c.remarks, client.Steps(c.options)...) {
		fmt.Fprintln(cmd.ErrOrStderr(), "Note:", remark)
	}
	return nil
}

// rename tells what the gateway calls an upstream; empty = the same.
func (c *clientConfig) rename(upstream, name string) {
	if name == "" || name == upstream {
		return
	}
	if c.options.Names == nil {
		c.options.Names = map[string]string{}
	}
	c.options.Names[upstream] = name
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
