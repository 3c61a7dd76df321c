package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/headrace/headrace/flightsrv"
	"github.com/headrace/headrace/internal/config"
	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/obs"
	"github.com/headrace/headrace/internal/vfs"
)

// registerSettings makes a flag of each setting of a server.
func registerSettings(command *cobra.Command, file *string) {
	flags := command.Flags()
	for _, setting := range config.Settings() {
		if setting.Name == "insecure" {
			flags.Bool(setting.Name, false, setting.Description)
			continue
		}
		flags.String(setting.Name, setting.Default, setting.Description)
	}
	flags.StringVar(file, "config", "", "YAML file of settings, named as these flags (default $HEADRACE_CONFIG)")
}

// loadSettings reads the settings from flags, environment and file.
func (p *program) loadSettings(command *cobra.Command, file string) (config.Loaded, error) {
	if file == "" {
		file = p.variable("HEADRACE_CONFIG")
	}
	given := map[string]string{}
	for _, setting := range config.Settings() {
		if flag := command.Flags().Lookup(setting.Name); flag != nil && flag.Changed {
			given[setting.Name] = flag.Value.String()
		}
	}
	loaded, err := config.Load(config.Sources{File: file, Environment: p.environment, Flags: given})
	if err != nil {
		return loaded, usageError{err}
	}
	return loaded, nil
}

func (p *program) serveCommand() *cobra.Command {
	var file, profilePath string
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `Run a server. Each flag can also be set in the file of --config, and in the environment as
HEADRACE_ and its name in capitals, such as HEADRACE_LOG_LEVEL.

The first SIGTERM or interrupt lets the server finish: writes are refused, followers are told where
to go on, everything is made durable. A second one ends it at once; nothing that was acknowledged is
lost then either. SIGHUP reads tokens and certificates again.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			loaded, err := p.loadSettings(command, file)
			if err != nil {
				return err
			}
			stop, err := profile(profilePath)
			if err != nil {
				return err
			}
			return errors.Join(p.serve(command.Context(), loaded.Config), stop())
		},
	}
	registerSettings(command, &file)
	command.Flags().StringVar(&profilePath, "cpu-profile", "", "write a CPU profile of the whole run to this file, for go tool pprof")
	return command
}

func (p *program) serve(ctx context.Context, settings config.Config) error {
	logger, err := obs.NewLogger(p.stderr, obs.LogOptions{Level: settings.LogLevel, Format: settings.LogFormat})
	if err != nil {
		return usageError{err}
	}
	setRuntimeLimits(os.Getenv)
	disk, err := vfs.NewDisk(settings.Data)
	if err != nil {
		return fmt.Errorf("opening the data folder %s: %w", settings.Data, err)
	}
	defer func() { _ = disk.Close() }()
	mappings := vfs.NewMappings()
	fatal := engine.CatchFatal()
	defer fatal.Restore()
	store, err := engine.Open(ctx, engine.Options{
		FS: disk, Folder: settings.Data, Fatal: fatal, Mappings: mappings, Entropy: rand.Reader, Logger: logger, SegmentBytes: settings.SegmentBytes,
		RowCacheBytes: rowCacheBytes(settings.RowCacheBytes, memoryBytes(os.ReadFile)),
	})
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("the data folder %s is in use by another server; stop it, or choose another folder with --data", settings.Data)
	}
	if err != nil {
		return fmt.Errorf("opening the data folder %s: %w", settings.Data, err)
	}
	err = p.serveEngine(ctx, store, mappings, settings, logger)
	return errors.Join(err, store.Close(context.WithoutCancel(ctx)))
}

// serveEngine listens until a signal comes, and drains.
func (p *program) serveEngine(ctx context.Context, store *engine.Engine, mappings *vfs.Mappings, settings config.Config, logger *slog.Logger) error {
	server, err := flightsrv.New(store, flightsrv.Options{
		Listen: settings.Listen, Advertise: settings.Advertise, Admin: settings.Admin,
		TLSCert: settings.TLSCert, TLSKey: settings.TLSKey, ClientCA: settings.TLSClientCA,
		TokenFile: settings.TokenFile, Insecure: settings.Insecure,
		Mappings: mappings, Logger: logger, Metrics: obs.NewMetrics(version), Version: version,
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; another server may be running: stop it, or choose other ports with --listen and --admin", err)
	}
	if err != nil {
		return err
	}
	p.reportStart(server, store.Status().Recovery, settings, logger)
	ctx, interrupted, stop := p.watchSignals(ctx, server, logger)
	defer stop()
	ctx, end := context.WithCancel(ctx)
	defer end()
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		select {
		case <-store.Failed():
		case <-ctx.Done():
		}
		end()
	})
	err = server.Serve(ctx)
	end()
	if failure := store.Err(); failure != nil {
		return errors.Join(err, fmt.Errorf("the server had to end: %w", failure))
	}
	if err == nil && interrupted.Load() {
		return errInterrupted
	}
	return err
}

// watchSignals gives a context that is done at the first signal to end, and whether that was an
// interrupt. A second signal ends the process at once.
func (p *program) watchSignals(ctx context.Context, server *flightsrv.Server, logger *slog.Logger) (context.Context, *atomic.Bool, func()) {
	ctx, cancel := context.WithCancel(ctx)
	var interrupted atomic.Bool
	var watching sync.WaitGroup
	signals, done := make(chan os.Signal, 4), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	watching.Go(func() {
		ending := false
		for {
			select {
			case <-done:
				return
			case received := <-signals:
				switch {
				case received == syscall.SIGHUP:
					if err := server.Reload(); err != nil {
						logger.Error("reading tokens and certificates again", "error", err)
					}
				case ending:
					os.Exit(exitInterrupted)
				default:
					ending = true
					interrupted.Store(received == os.Interrupt)
					p.note("draining; a second signal ends the server at once")
					cancel()
				}
			}
		}
	})
	return ctx, &interrupted, func() {
		signal.Stop(signals)
		close(done)
		watching.Wait()
		cancel()
	}
}

// reportStart tells what was started, one line a fact, or as one record where logs are for machines.
func (p *program) reportStart(server *flightsrv.Server, recovery engine.Recovery, settings config.Config, logger *slog.Logger) {
	admin := "none"
	if address := server.AdminAddr(); address != nil {
		admin = "http://" + address.String()
	}
	scheme, encryption := "grpc://", "off"
	if settings.TLSCert != "" {
		scheme, encryption = "grpc+tls://", "on"
		if settings.TLSClientCA != "" {
			encryption = "on, clients show certificates"
		}
	}
	tokens := "not asked for"
	if settings.TokenFile != "" {
		tokens = "asked for, " + settings.TokenFile
	}
	recovered := fmt.Sprintf("%s in %s", counted(recovery.Tables, "table"), recovery.Took.Round(time.Millisecond))
	if recovery.GroupsCut > 0 {
		recovered += "; taken back: " + counted(recovery.GroupsCut, "unfinished group") + " of writes"
	}
	if settings.LogFormat == "json" {
		logger.Info("started", "version", version, "data", settings.Data, "listen", scheme+server.Addr().String(),
			"admin", admin, "tls", encryption, "tokens", tokens, "tables", recovery.Tables)
	} else if !p.quiet {
		facts := newGrid(p.stdout)
		facts.row("headrace", version)
		facts.row("data", settings.Data)
		facts.row("listen", scheme+server.Addr().String())
		facts.row("admin", admin)
		facts.row("TLS", encryption)
		facts.row("tokens", tokens)
		facts.row("recovered", recovered)
		_ = facts.flush() // the server runs without anyone reading this
	}
}

// profile writes a CPU profile of the process to a file until the function that it gives is called.
func profile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}
