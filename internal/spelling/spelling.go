// Package spelling makes commands say what was meant by what is misspelt.
package spelling

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pullgate/pullgate/internal/nearest"
)

// otherVerbs are what other tools call a verb.
var otherVerbs = map[string][]string{
	"ls": {"list", "images"}, "rm": {"remove", "delete", "purge", "evict"}, "du": {"usage", "df", "size"}, "preload": {"pull", "warm"},
	"pins": {"pinned"}, "serve": {"run", "start"}, "export": {"save"}, "import": {"load"}, "fsck": {"scrub"}, "sync": {"upload"},
}

// Suggest makes a command say which of its verbs was meant, and Caddy that it has
// them.
func Suggest(cmd *cobra.Command) {
	for _, verb := range cmd.Commands() {
		verb.SuggestFor = otherVerbs[verb.Name()]
		cmd.SuggestFor = append(cmd.SuggestFor, verb.Name())
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), verbHint(cmd, args[0]))
	}
	cmd.SetFlagErrorFunc(Misspelt)
}

// verbHint says which verb was meant.
func verbHint(cmd *cobra.Command, name string) string {
	var verbs []string
	for _, verb := range cmd.Commands() {
		if slices.Contains(verb.SuggestFor, name) {
			return " (did you mean " + verb.Name() + "?)"
		}
		verbs = append(verbs, verb.Name())
	}
	return nearest.Hint(name, verbs)
}

// Misspelt adds to an error about options what was meant.
func Misspelt(cmd *cobra.Command, err error) error {
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok && wrong.GetFlag().Value.Type() == "duration" {
		if _, number := strconv.ParseFloat(wrong.GetValue(), 64); number == nil {
			return fmt.Errorf("--%s: %q is a duration without a unit: did you mean %ss?",
				wrong.GetFlag().Name, wrong.GetValue(), wrong.GetValue())
		}
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return fmt.Errorf("%w%s", err, nearest.Hint("--"+unknown.GetSpecifiedName(), names))
}
