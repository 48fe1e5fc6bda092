using System.Text.Json.Nodes;
using Nibble.Data.Validation;
using Nibble.Tests;

namespace Nibble.Data.Tests;

public class DataValidatorTests
{
    private const string Question = "Explain to a ten-year-old child how the moon makes the tides rise and fall twice a day.";

    /// <summary>Counted by another program: shared/data/README.md.</summary>
    [Theory]
    [InlineData("alpaca/identity.json", 91, "short_output=29", "duplicate_instruction=2", "unfilled_placeholder=85", "empty_instruction=0", "empty_output=0")]
    [InlineData("alpaca/gpteacher_roleplay.json", 1923, "duplicate_instruction=1", "short_output=0", "empty_output=0", "conflicting_answers=0")]
    [InlineData("alpaca/gsm8k_test_alpaca.json", 1319, "duplicate_instruction=0", "short_output=0", "empty_output=0", "invalid_record=0", "broken_encoding=0")]
    [InlineData("gsm8k/train.jsonl", 7473, "duplicate_instruction=0", "calculator_mark=7378", "short_output=0", "secret=0")]
    [InlineData("chat/fastchat_dummy_sharegpt.json", 500, "role_order=0", "missing_assistant_turn=0", "empty_output=0")]
    [InlineData("chat/glaive_toolcall_en_demo_sharegpt.json", 300, "role_order=0", "missing_assistant_turn=0", "invalid_record=0")]
    [InlineData("chat/oasst_en_100_openai_messages.jsonl", 100, "role_order=0", "missing_assistant_turn=0")]
    [InlineData("messy/TruthfulQA.csv", 817, "invalid_record=0", "short_output=817")]
    public void What_is_known_about_real_files_is_found(string file, int records, params string[] expected)
    {
        ValidationReport report = new DataValidator(new ValidationOptions { Map = MapOf(file) }).Validate(SharedFolder.Path(["data", .. file.Split('/')]));
        Assert.Equal(records, report.Records);
        Assert.All(expected.Select(item => item.Split('=')), item => Assert.Equal((item[0], long.Parse(item[1])), (item[0], report.Counts.GetValueOrDefault(item[0]))));
    }

    [Fact]
    public void Turns_and_empty_inputs_of_real_files_are_counted()
    {
        DatasetStatistics Of(string file) => new DataValidator(new ValidationOptions { Map = MapOf(file) }).Validate(SharedFolder.Path(["data", .. file.Split('/')])).Statistics;
        Assert.Equal(new Dictionary<string, long> { ["assistant"] = 1000, ["user"] = 1000 }, Of("chat/fastchat_dummy_sharegpt.json").Turns);
        Assert.Equal(new Dictionary<string, long> { ["assistant"] = 142, ["user"] = 142 }, Of("chat/oasst_en_100_openai_messages.jsonl").Turns);
        Assert.Equal(211, Of("chat/glaive_toolcall_en_demo_sharegpt.json").Turns["tool"]);
        Assert.Equal(50, Of("alpaca/self_instruct_seed_tasks.jsonl").EmptyInputs);
        DatasetStatistics boolq = Of("messy/boolq_validation.csv");
        Assert.Equal(["false", "true"], boolq.Labels.Keys);
        Assert.Equal(3270, boolq.Labels.Values.Sum());
        DatasetStatistics identity = Of("alpaca/identity.json");
        Assert.Equal(["en", "zh"], identity.Languages.Where(item => item.Value > 5).Select(item => item.Key));
    }

    [Fact]
    public void A_tree_that_is_no_flat_record_is_an_error_on_every_line()
    {
        ValidationReport report = new DataValidator().Validate(SharedFolder.Path("data", "messy", "oasst_en_100_tree.jsonl"));
        Assert.Equal((0, 100), (report.Records, report.Counts[IssueCodes.InvalidRecord]));
    }

    [Fact]
    public void Training_and_test_questions_of_GSM8K_do_not_overlap_and_a_planted_one_is_found()
    {
        string train = SharedFolder.Path("data", "gsm8k", "train.jsonl");
        string test = SharedFolder.Path("data", "gsm8k", "test.jsonl");
        var validator = new DataValidator(new ValidationOptions { Map = MapOf("gsm8k/") });
        Assert.False(validator.Validate(train, [test]).Counts.ContainsKey(IssueCodes.Leakage));

        using var folder = new TempFolder();
        string[] lines = File.ReadAllLines(train);
        File.WriteAllLines(folder["test.jsonl"], [.. File.ReadLines(test), lines[4321], lines[0].Replace("Natalia sold clips", "Natalya sold pins", StringComparison.Ordinal)]);
        ValidationReport report = validator.Validate(train, [folder["test.jsonl"]]);
        ValidationIssue leak = Assert.Single(report.Issues, issue => issue.Code == IssueCodes.Leakage);
        Assert.Equal((new DataPlace(folder["test.jsonl"], 1320), new DataPlace(train, 4322)), (leak.Place, leak.DuplicateOf));
        Assert.Contains(report.Issues, issue => issue.Code == IssueCodes.NearLeakage && issue.Place.Line == 1321 && issue.DuplicateOf!.Line == 1);
    }

    [Theory]
    [InlineData("empty_instruction", " ", "an answer of words")]
    [InlineData("empty_output", "a", " \n")]
    [InlineData("short_output", "a", "two words")]
    [InlineData("broken_encoding", "a", "it was Ã¶ffentlich yesterday")]
    [InlineData("broken_encoding", "a", "donâ€™t do this again")]
    [InlineData("broken_encoding", "a", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚ is hello here")]
    [InlineData("broken_encoding", "a", "caf\uFFFD is closed today")]
    [InlineData("broken_encoding", "a", "bell \a rings three times")]
    [InlineData("secret", "a", "use sk-abcdefghijklmnopqrstuvwxyz for that")]
    [InlineData("secret", "a", "id AKIAIOSFODNN7EXAMPLE and so on")]
    [InlineData("secret", "a", "-----BEGIN RSA PRIVATE KEY----- and more of it")]
    [InlineData("email_address", "write to ann.lee+x@mail.example.org", "I will do that")]
    [InlineData("unfilled_placeholder", "a", "My name is {{ name }}, hello")]
    [InlineData("calculator_mark", "a", "that makes <<2*3=6>>6 in all")]
    public void A_problem_of_a_text_is_named(string code, string instruction, string output)
    {
        ValidationReport report = new DataValidator().Validate([new TrainingExample("b", "", "a fine long answer"), new TrainingExample(instruction, "", output)]);
        ValidationIssue issue = Assert.Single(report.Issues);
        Assert.Equal((code, 2), (issue.Code, issue.Place.Line));
        Assert.Equal(IssueCodes.IsError(code) ? (1, 0) : (0, 1), (report.Errors, report.Warnings));
    }

    [Theory]
    [InlineData("Ça va ? Oui, « très » bien, NÃO, âme — déjà vu")]
    [InlineData("Привет, как дела? Ñandú, El Niño – “quoted”")]
    [InlineData("price at @home is 3 <<see below>> {{not a name!}} task-sk-1")]
    [InlineData("tab\tand line\r\nbreaks 😀 are fine")]
    public void Ordinary_text_is_no_problem(string output) =>
        Assert.Empty(new DataValidator().Validate([new TrainingExample("a", "", output)]).Issues);

    [Fact]
    public void Secrets_are_not_repeated_in_the_report()
    {
        ValidationReport report = new DataValidator().Validate([new TrainingExample("a", "", "use sk-abcdefghijklmnopqrstuvwxyz for ann@example.org")]);
        Assert.Equal(2, report.Issues.Count);
        Assert.DoesNotContain("klmnop", report.ToJson() + report.ToHtml(), StringComparison.Ordinal);
        Assert.DoesNotContain("ann@", report.ToJson() + report.ToHtml(), StringComparison.Ordinal);
    }

    [Fact]
    public void Repeated_and_contradicted_instructions_name_the_first()
    {
        ValidationReport report = new DataValidator().Validate(
        [
            new TrainingExample("Say hi.", "", "hi to all of you"), new TrainingExample("Add.", "1 2", "it is three now"), new TrainingExample(" Say hi.", "", "hi to all of you"),
            new TrainingExample("Add.", "2 2", "it is four now"), new TrainingExample("Add.", "1 2", "it is five now"),
        ]);
        Assert.Equal(
            [("duplicate_instruction", 3, 1), ("duplicate_instruction", 4, 2), ("duplicate_instruction", 5, 2), ("conflicting_answers", 5, 2)],
            report.Issues.Select(issue => (issue.Code, issue.Place.Line, issue.DuplicateOf!.Line)));
        Assert.EndsWith("with another input", report.Issues[1].Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Explain to a ten-year-old child how the Moon makes the tides rise and fall twice each day!", true)]
    [InlineData("explain to a ten year old child  how the moon makes the tides rise and fall twice a day", true)]
    [InlineData("Explain to a ten-year-old child why the sky is blue at noon and red in the evening.", false)]
    public void Nearly_the_same_question_is_found(string question, bool near)
    {
        ValidationReport report = new DataValidator().Validate(
            [new TrainingExample(Question, "", "The moon pulls the sea."), new TrainingExample("Else.", "", "Some other thing."), new TrainingExample(question, "", "The moon pulls the sea.")]);
        Assert.Equal(near ? [("near_duplicate", 3, 1)] : [], report.Issues.Select(issue => (issue.Code, issue.Place.Line, issue.DuplicateOf!.Line)));
    }

    [Fact]
    public void One_instruction_for_many_inputs_makes_them_no_near_duplicates()
    {
        ValidationReport report = new DataValidator().Validate(
            Enumerable.Range(0, 200).Select(i => new TrainingExample(Question, $"subject {i * 7919} of {i * 104729 % 65537} chapters", $"an answer to {i}")));
        Assert.Equal(["duplicate_instruction"], report.Counts.Keys);
    }

    [Theory]
    [InlineData("user assistant user assistant", null)]
    [InlineData("system user assistant tool tool assistant", null)]
    [InlineData("assistant user assistant", "begins with the assistant's turn")]
    [InlineData("user user assistant", "turn 2 is the user's, after the user's")]
    [InlineData("user assistant assistant", "turn 3 is the assistant's, after the assistant's")]
    [InlineData("user assistant system user assistant", "turn 3 is the system's, after the assistant's")]
    [InlineData("user tool assistant", "turn 2 is the tool's, after the user's")]
    [InlineData("user assistant user", "ends with the user's turn")]
    public void Turns_out_of_order_are_named(string roles, string? problem)
    {
        var messages = new JsonArray([.. roles.Split(' ').Select((role, i) => new JsonObject { ["role"] = role, ["content"] = $"says {role} {i}" })]);
        ValidationReport report = new DataValidator().Validate([new ChatExample(messages)]);
        Assert.Equal(problem is null ? [] : [("role_order", problem)], report.Issues.Select(issue => (issue.Code, issue.Message)));
    }

    [Fact]
    public void A_turn_that_only_calls_tools_is_no_empty_answer()
    {
        JsonNode messages = JsonNode.Parse("""
            [{"role": "user", "content": "weather?"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]},
             {"role": "tool", "content": "rain"}, {"role": "assistant", "content": "It is raining."}]
            """)!;
        Assert.Empty(new DataValidator().Validate([new ChatExample(messages.AsArray())]).Issues);
    }

    [Fact]
    public void Lines_that_are_no_records_are_errors_with_their_reason()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], "{\"messages\": [{\"role\": \"user\", \"content\": \"hi there\"}]}\n{\"messages\": 1}\n{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"hello to you\"}]}\n");
        ValidationReport report = new DataValidator().Validate(folder["a.jsonl"]);
        Assert.Equal([("missing_assistant_turn", 1), ("invalid_record", 2)], report.Issues.Select(issue => (issue.Code, issue.Place.Line)));
        Assert.Equal((1, 2), (report.Records, report.Errors));
    }

    [Fact]
    public void Lengths_are_held_against_the_limit_when_tokens_can_be_counted()
    {
        var options = new ValidationOptions { CountTokens = record => ((TextExample)record).Text.Length, MaxLength = 4 };
        ValidationReport report = new DataValidator(options).Validate([new TextExample("abc"), new TextExample("abcd"), new TextExample("abcde")]);
        Assert.Equal(("too_long", 3), (Assert.Single(report.Issues).Code, report.Issues[0].Place.Line));
        Assert.Equal((3, 5, 4.0), (report.Statistics.Tokens.Min, report.Statistics.Tokens.Max, report.Statistics.Tokens.Mean));
    }

    [Fact]
    public void Of_a_common_kind_the_report_keeps_the_first_and_counts_all()
    {
        ValidationReport report = new DataValidator(new ValidationOptions { KeptIssues = 3 }).Validate(Enumerable.Repeat(new TrainingExample("a", "", "b c"), 10));
        Assert.Equal((10, 9), (report.Counts["short_output"], report.Counts["duplicate_instruction"]));
        Assert.Equal([1, 2, 2, 3, 3, 4], report.Issues.Select(issue => issue.Place.Line));
    }

    [Fact]
    public void The_page_needs_nothing_else_and_shows_text_as_text()
    {
        var options = new ValidationOptions { CountTokens = _ => 7, MaxLength = 7 };
        string page = new DataValidator(options).Validate([new TrainingExample("<script>alert(1)</script>", "", "<b>"), new TrainingExample("b", "", "{{name}} & <<1=1>> or")]).ToHtml();
        Assert.Equal(3, page.Split("<svg ").Length - 1);
        Assert.Contains("&lt;&lt;1=1&gt;&gt;", page, StringComparison.Ordinal);
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        Assert.DoesNotContain("http", page, StringComparison.Ordinal);
        Assert.Equal(2, (int)JsonNode.Parse(new DataValidator().Validate([new TextExample("a"), new TextExample("b")]).ToJson())!["records"]!);
    }

    private static Dictionary<string, string> MapOf(string file) => file switch
    {
        "alpaca/gpteacher_roleplay.json" => new() { ["output"] = "response" },
        "alpaca/self_instruct_seed_tasks.jsonl" => new() { ["input"] = "instances.0.input", ["output"] = "instances.0.output" },
        "messy/TruthfulQA.csv" => new() { ["completion"] = "answer" },
        "messy/boolq_validation.csv" => new() { ["instruction"] = "question", ["input"] = "passage", ["output"] = "answer" },
        _ when file.StartsWith("gsm8k/", StringComparison.Ordinal) => new() { ["prompt"] = "question", ["completion"] = "answer" },
        _ => [],
    };
}
