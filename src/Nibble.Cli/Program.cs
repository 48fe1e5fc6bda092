using Nibble.Cli;

return await CommandLineProgram.RunAsync(args).ConfigureAwait(false);
