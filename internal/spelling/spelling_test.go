package spelling

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What is no verb and no option is refused with what was meant.
func TestSuggest(t *testing.T) {
	for want, args := range map[string][]string{
		`unknown command "stauts" for "tool" (did you mean status?)`: {"stauts"},
		`unknown command "images" for "tool" (did you mean ls?)`:     {"images"},
		`unknown flag: --als (did you mean --all?)`:                  {"ls", "--als"},
		`did you mean 2s?`: {"ls", "--every", "2"},
	} {
		cmd := &cobra.Command{Use: "tool", SilenceUsage: true, SilenceErrors: true, RunE: func(*cobra.Command, []string) error { return nil }}
		for _, name := range []string{"status", "ls"} {
			verb := &cobra.Command{Use: name, RunE: cmd.RunE}
			verb.Flags().Bool("all", false, "")
			verb.Flags().Duration("every", 0, "")
			cmd.AddCommand(verb)
		}
		Suggest(cmd)
		cmd.SetArgs(args)
		if err := cmd.Execute(); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}
