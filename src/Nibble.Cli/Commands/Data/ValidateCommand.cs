using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Commands.Prompts;
using Nibble.Data.Validation;
using Spectre.Console;

namespace Nibble.Cli.Commands.Data;

/// <summary><c>nibble data validate</c></summary>
internal static class ValidateCommand
{
    /// <summary>Places that the table names of each kind of issue; JSON and the page have more.</summary>
    private const int PlacesShown = 3;

    public static Command Create()
    {
        var source = new DataSource();
        var evaluation = new Option<string[]>("--eval") { Description = "A file that evaluates, and must not be trained on; may be given several times.", HelpName = "FILE" };
        var model = new Option<string?>("--model") { Description = "A model's folder, to hold lengths against.", HelpName = "DIR" };
        var maxLength = ModelTokens.MaxLengthOption();
        var prompts = new PromptOptions();
        var html = new Option<string?>("--html") { Description = "Write the report as one page as well.", HelpName = "FILE" };
        var json = CommonOptions.Json();
        var command = new Command("validate", "Look for what makes a fine-tune fail; exit code 1 if there are errors.");
        source.AddTo(command, mayFail: false);
        foreach (Option option in new Option[] { evaluation, model, maxLength, html, json })
        {
            command.Options.Add(option);
        }

        prompts.AddTo(command);
        command.SetAction((result, cancellation) =>
        {
            if (result.GetValue(maxLength) is not null && result.GetValue(model) is null)
            {
                throw new UsageException("--max-length needs --model, whose tokens it counts.");
            }

            ModelTokens? tokens = prompts.Of(result, result.GetValue(model)) is { } writing ? new ModelTokens(writing, result.GetValue(maxLength)) : null;
            ValidationReport report = Progress.Rows("validating", progress => new DataValidator(new ValidationOptions
            {
                Progress = progress,
                Format = source.Format(result),
                Map = source.Map(result),
                CountTokens = tokens is null ? null : record => tokens.Encode(record).InputIds.Length,
                MaxLength = tokens?.MaxLength,
            }).Validate(source.File(result), result.GetValue(evaluation), cancellation));
            if (result.GetValue(html) is { } page)
            {
                File.WriteAllText(page, report.ToHtml());
            }

            if (result.GetValue(json))
            {
                Console.WriteLine(report.ToJson());
            }
            else
            {
                Show(report);
            }

            return Task.FromResult(report.Errors > 0 ? CommandLineProgram.Failed : 0);
        });
        return command;
    }

    private static void Show(ValidationReport report)
    {
        if (report.Counts.Count > 0)
        {
            Table table = new Table().Border(TableBorder.Simple).AddColumns("issue", "severity", "count", "where");
            table.Columns[2].RightAligned();
            foreach ((string code, long count) in report.Counts.OrderByDescending(item => IssueCodes.IsError(item.Key)).ThenByDescending(item => item.Value))
            {
                IEnumerable<string> places = report.Issues.Where(issue => issue.Code == code).Take(PlacesShown)
                    .Select(issue => $"{Path.GetFileName(issue.Place.File)}:{issue.Place.Line} {issue.Message}");
                table.AddRow(
                    new Text(code), new Text(IssueCodes.IsError(code) ? "error" : "warning"), new Text(count.ToString(CultureInfo.InvariantCulture)), new Text(Terminal.Visible(string.Join('\n', places), lines: true)));
            }

            Terminal.Output.Write(table);
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{report.Records} records, {report.Errors} errors, {report.Warnings} warnings"));
    }
}
