using System.CommandLine;
using Nibble.Cli.Registry;
using Nibble.Training.Reporting;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble report</c></summary>
internal static class ReportCommand
{
    public static Command Create()
    {
        var runs = new Argument<string[]>("RUN") { Description = RunArgument.Description, Arity = ArgumentArity.OneOrMore };
        var target = new Option<string?>("--out") { Description = "The page to write, .html or .md; by default one run's report is renewed in its folder, and several are compared on standard output.", HelpName = "FILE" };
        var command = new Command("report", "Show what a run came to, or compare several.") { runs, target };
        command.SetAction(result =>
        {
            string? path = result.GetValue(target);
            string kind = Path.GetExtension(path) ?? ".md";
            if (kind is not (".html" or ".md"))
            {
                throw new UsageException($"--out {path} ends in neither .html nor .md.");
            }

            RunRecord[] records = [.. result.GetValue(runs)!.Select(RunArgument.Load)];
            if (path is null && records is [RunRecord single])
            {
                RunReport.Save(single.Folder);
                Console.WriteLine(Path.Combine(single.Folder, RunReport.HtmlFile));
                Console.WriteLine(Path.Combine(single.Folder, RunReport.MarkdownFile));
                return;
            }

            var report = new RunReport(records);
            string page = kind == ".html" ? report.ToHtml() : report.ToMarkdown();
            if (path is null)
            {
                Console.Write(page);
            }
            else
            {
                File.WriteAllText(path, page);
                Console.WriteLine(path);
            }
        });
        return command;
    }
}
