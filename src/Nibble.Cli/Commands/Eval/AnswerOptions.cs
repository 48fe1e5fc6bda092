using System.CommandLine;
using Nibble.Evaluation.Predictions;
using Nibble.Modeling.Generation;

namespace Nibble.Cli.Commands.Eval;

/// <summary>How a model answers the prompts that it is measured on.</summary>
internal sealed class AnswerOptions
{
    private readonly Option<int> tokens = new("--max-new-tokens") { Description = "Tokens of an answer at most.", DefaultValueFactory = _ => 256 };
    private readonly Option<double> temperature = new("--temperature") { Description = "0 takes the likeliest token; higher is more varied." };
    private readonly Option<ulong> seed = new("--seed") { Description = "Decides what sampling draws.", DefaultValueFactory = _ => 42 };
    private readonly Option<string[]> stop = new("--stop") { Description = "End an answer before this string; may be given several times.", HelpName = "TEXT" };
    private readonly Option<int> batch = new("--batch-size") { Description = "Prompts answered at a time.", DefaultValueFactory = _ => 16 };

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { tokens, temperature, seed, stop, batch })
        {
            command.Options.Add(option);
        }
    }

    /// <summary>What decides the answers, so that an interrupted run goes on with the same.</summary>
    public object Describe(ParseResult result) => new
    {
        max_new_tokens = result.GetValue(tokens),
        temperature = result.GetValue(temperature),
        seed = result.GetValue(seed),
        stop = result.GetValue(stop),
        batch_size = result.GetValue(batch),
    };

    /// <summary>Answers as the options say.</summary>
    public AnswerGenerator Generator(ParseResult result, LoadedModel model)
    {
        var options = new GenerationOptions { MaxNewTokens = result.GetValue(tokens), Temperature = result.GetValue(temperature), Seed = result.GetValue(seed) };
        string[] stops = result.GetValue(stop)!;
        return new AnswerGenerator(model.Model, model.RequiredTokenizer, options)
        {
            BatchSize = result.GetValue(batch) is > 0 and var size ? size : throw new UsageException($"--batch-size is {result.GetValue(batch)}; it must be above 0."),
            Stops = stops.Length == 0 ? null : stops.Contains("") ? throw new UsageException("--stop is empty; it must be a text.") : new StopStrings(model.RequiredTokenizer, stops),
        };
    }
}
