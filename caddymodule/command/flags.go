package command

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/operate"
)

// The flags that several commands have.

func addServerFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "The configuration that names admin API and storage")
	cmd.Flags().StringP("adapter", "a", "", "The adapter of that configuration")
	cmd.Flags().String("address", "", "The address of the server's admin API, such as localhost:2019 or unix//run/caddy.sock")
}

func addGatewayFlags(cmd *cobra.Command) {
	addServerFlags(cmd)
	cmd.Flags().StringP("storage", "s", "", "The folder of the storage (default: that of the configuration, or registry_mirror in Caddy's data folder)")
	cmd.Flags().Bool("json", false, "Print the report as JSON")
}

func addFileFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayP("file", "f", nil, "A list of images, - for the standard input; can be given several times")
}

func addListFlags(cmd *cobra.Command, platform string) {
	addFileFlag(cmd)
	cmd.Flags().StringSlice("platform", nil, platform)
}

func addRateFlag(cmd *cobra.Command) {
	cmd.Flags().String("rate", "", "How much to read per second at most, such as 100MiB (default: no limit)")
}

func addDryRunFlag(cmd *cobra.Command, usage string) { cmd.Flags().Bool("dry-run", false, usage) }

// rate reads the flag of addRateFlag; 0 = no limit.
func (r *run) rate() (int64, error) {
	text := r.flags.String("rate")
	if text == "" {
		return 0, nil
	}
	rate, err := operate.ParseRate(text)
	if err != nil {
		return 0, fmt.Errorf("--rate: %w", err)
	}
	return rate, nil
}

// images returns those of arguments and lists, in this order, and the lists.
func (r *run) images() (images []imagelist.Image, files []string, errs []error) {
	for _, arg := range r.args {
		i, err := imagelist.Parse(arg)
		images, errs = append(images, i), append(errs, err)
	}
	more, files, failed := r.listed()
	return append(images, more...), files, append(errs, failed...)
}

// listed returns the images of the lists.
func (r *run) listed() (images []imagelist.Image, files []string, errs []error) {
	files, err := r.cmd.Flags().GetStringArray("file")
	errs = append(errs, err)
	for _, file := range files {
		more, err := readImageList(r.cmd.InOrStdin(), file)
		images, errs = append(images, more...), append(errs, err)
	}
	return images, files, errs
}

func readImageList(stdin io.Reader, name string) ([]imagelist.Image, error) {
	if name == "-" {
		return imagelist.Read("standard input", stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return imagelist.Read(name, file)
}
