package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pullgate/pullgate/internal/spelling"
)

// verbs returns the command with all its verbs, which do nothing.
func verbs() *cobra.Command {
	r := reader(nil)
	cmd := &cobra.Command{Use: "mirror", SilenceUsage: true, SilenceErrors: true, RunE: func(*cobra.Command, []string) error { return nil }}
	cmd.AddCommand(r.commands()...)
	spelling.Suggest(cmd)
	return cmd
}

func TestVerbsAreSuggested(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"stauts"}, `unknown command "stauts" for "mirror" (did you mean status?)`},
		{[]string{"list"}, `(did you mean ls?)`},
		{[]string{"delete", "x"}, `(did you mean rm?)`},
		{[]string{"pull"}, `(did you mean preload?)`},
		{[]string{"clientconfig"}, `(did you mean client-config?)`},
		{[]string{"serve", "--max-sise", "1GiB", "docker.io"}, `unknown flag: --max-sise (did you mean --max-size?)`},
		{[]string{"serve", "--frobnicate", "docker.io"}, `unknown flag: --frobnicate`},
		{[]string{"serve", "-q", "docker.io"}, `unknown shorthand flag: 'q' in -q`},
	} {
		cmd := verbs()
		cmd.SetArgs(test.args)
		if err := cmd.Execute(); err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%v: %v, want %s", test.args, err, test.want)
		}
	}
	for want, args := range map[string][]string{
		"Error: unknown flag: --storgae (did you mean --storage?)\n":                {"ls", "--storgae", "x"},
		"Error: --interval: \"2\" is a duration without a unit: did you mean 2s?\n": {"status", "--interval", "2"},
		"Error: unknown flag: --plattform (did you mean --platform?)\n":             {"preload", "--plattform=linux/amd64"},
		"Error: unknown command \"x\" for \"mirror status\"\n":                      {"status", "x"},
	} {
		cmd := verbs()
		var b bytes.Buffer
		cmd.SetErr(&b)
		cmd.SetArgs(args)
		if err := cmd.Execute(); err == nil || b.String() != want {
			t.Errorf("%v: %v, %q, want %q", args, err, b.String(), want)
		}
	}
}

// A letter means one option, whatever the verb.
func TestShorthandsMeanOneThing(t *testing.T) {
	known := map[string]string{}
	for _, verb := range verbs().Commands() {
		verb.Flags().VisitAll(func(f *pflag.Flag) {
			other, ok := known[f.Shorthand]
			switch {
			case f.Shorthand == "":
			case !ok:
				known[f.Shorthand] = f.Name
			case !strings.HasPrefix(f.Name, other) && !strings.HasPrefix(other, f.Name): // --out is a folder, --output a file
				t.Errorf("-%s of %s is --%s, and --%s elsewhere", f.Shorthand, verb.Name(), f.Name, other)
			}
		})
	}
	if known["a"] != "adapter" {
		t.Errorf("-a is --%s", known["a"])
	}
}

// What a help shows can be typed as it stands.
func TestExamplesNameTheBinary(t *testing.T) {
	for _, verb := range verbs().Commands() {
		if verb.Example == "" {
			t.Errorf("%s has no example", verb.Name())
		}
		for line := range strings.Lines(verb.Example) {
			if !strings.Contains(line, "pullgate mirror "+verb.Name()) && !strings.Contains(line, "skopeo copy") {
				t.Errorf("%s: %s", verb.Name(), line)
			}
		}
	}
}
